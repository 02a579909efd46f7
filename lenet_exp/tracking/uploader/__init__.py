"""The one process that talks to MLflow while a command trains, and lenet-sync, which does the same
later.
"""
