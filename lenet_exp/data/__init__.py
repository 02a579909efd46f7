"""Datasets as tensors, which are read once per process, split with a seed, and identified by
digests.
"""
