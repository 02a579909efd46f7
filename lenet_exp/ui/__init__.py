"""Starts MLflow's user interface and links into it."""
