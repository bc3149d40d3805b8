"""Compares two features row by row."""
