"""Weights of trained models: digests, and reading them without running code."""
