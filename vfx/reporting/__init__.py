"""The HTML report of a feature."""
