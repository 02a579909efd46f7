"""Data sets as tensors: read once a process, split by a seed, named by a digest."""
