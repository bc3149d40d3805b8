"""Samplers: which frames of a video are taken, by its timeline."""
