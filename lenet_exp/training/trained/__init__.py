"""Weights of trained models: their digests, and readers that run no code from a file."""
