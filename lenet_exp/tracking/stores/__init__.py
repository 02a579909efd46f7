"""MLflow stores: opening and checking a store, its errors, and time limits for requests."""
