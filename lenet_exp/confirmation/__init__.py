"""Confirmation: the command that tests a leader on new seeds or against a baseline."""
