"""Runs: opening, training, resuming, and reproducing them."""
