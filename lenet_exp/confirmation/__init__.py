"""Confirmation: builds and runs the command that tests a sweep's leader on new seeds or against a
baseline.
"""
