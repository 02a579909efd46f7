"""Runs: functions that start, train, resume, and reproduce them."""
