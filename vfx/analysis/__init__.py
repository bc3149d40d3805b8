"""Arithmetic over features for reports: statistics, similarity, PCA, thumbnails."""
