"""Runs jobs on a Ray cluster."""
