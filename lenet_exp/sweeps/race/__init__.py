"""Sweeps with `sweep.within`: their plan, the jobs that they add, and estimates."""
