"""Search for the nearest frames or videos of a feature."""
