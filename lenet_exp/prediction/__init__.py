"""Predictions with trained networks: test sets, classification of pictures, and export."""
