"""Implements `lenet-sweep rm` and `lenet-sweep du`: removes sweeps and runs, and reports disk usage."""
