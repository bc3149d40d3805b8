"""Step 2: from clips to batches to rows, around Lightning's predict loop."""

# For the server that reading workers are forked from: all that reads, and torch.
WORKER_PRELOAD = ("vfx.extraction.worker_preload",)
