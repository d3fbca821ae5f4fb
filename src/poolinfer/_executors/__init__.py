"""Floor 3: the executors, one file each."""
