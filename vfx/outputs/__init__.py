"""A feature's output folder: immutable parts, resume, the final file."""
