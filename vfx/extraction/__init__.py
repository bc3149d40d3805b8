"""Step 2: from clips to batches to rows, around Lightning's predict loop."""
