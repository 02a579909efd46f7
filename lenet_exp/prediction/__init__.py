"""Predictions: test sets, pictures, and export of trained networks."""
