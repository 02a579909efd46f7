"""Predictions with trained networks: evaluation on test sets, classification of pictures, and
export.
"""
