"""Implements `lenet-sweep rm`: removes sweeps with their runs, or the final training states of all
runs.
"""
