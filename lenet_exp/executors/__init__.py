"""Runs jobs side by side: on this machine, on a Ray cluster, or under Slurm."""
