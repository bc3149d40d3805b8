"""Step 3: one row a video or segment out of frame-level features."""
