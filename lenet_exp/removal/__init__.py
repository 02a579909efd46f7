"""Implements `lenet-sweep rm`, which removes sweeps with their runs.

The command can also remove only the final training states of all runs.
"""
