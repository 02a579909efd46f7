"""Datasets as tensors: read once per process, split by a seed, identified by a digest."""
