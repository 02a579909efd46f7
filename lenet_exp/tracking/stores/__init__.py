"""MLflow stores: opening and checking them, their errors, and time limits."""
