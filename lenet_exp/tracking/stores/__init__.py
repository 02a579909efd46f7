"""MLflow stores: opening and checking them, errors and time limits."""
