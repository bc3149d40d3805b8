"""Step 0: what a collection holds, before a long run."""
