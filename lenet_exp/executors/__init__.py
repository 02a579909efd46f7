"""Executors, which run jobs in parallel on this machine, on a Ray cluster, or on a Slurm
cluster.
"""
