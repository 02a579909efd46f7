"""Trained models in MLflow: logging, loading, the champion, and test results."""
