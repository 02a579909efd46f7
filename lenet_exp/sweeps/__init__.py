"""Runs and sweeps on disk: one folder a run, one folder a sweep."""
