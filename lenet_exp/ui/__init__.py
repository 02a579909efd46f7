"""Starts the server of MLflow's UI, and creates links to its pages."""
