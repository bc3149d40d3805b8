"""Collections: which videos or folders of frames there are, and their ids."""
