"""Brings a run in MLflow up to date with its folder."""
