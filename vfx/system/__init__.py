"""What a run needs of the operating system: files that survive a crash, locks, processes, memory."""
