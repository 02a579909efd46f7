"""Retrains or checks runs, and compares the results with their records."""
