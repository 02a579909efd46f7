"""Predictions: test sets, pictures, and the export of trained networks."""
