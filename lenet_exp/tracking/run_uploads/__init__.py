"""Uploads of run folders to MLflow."""
