"""Runs jobs in Slurm allocations."""
