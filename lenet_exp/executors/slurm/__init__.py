"""Executor that runs jobs in Slurm allocations."""
