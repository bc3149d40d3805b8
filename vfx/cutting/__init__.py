"""Step 1: frames of videos as JPEG files, and the list files beside them."""
