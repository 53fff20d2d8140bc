"""What a container holds, read in a process that may die over it."""
