"""Executor that runs jobs in worker processes on this machine."""
