"""Implements `lenet-sweep rm` and `lenet-sweep clean`: removes sweeps, runs, and final training states."""
