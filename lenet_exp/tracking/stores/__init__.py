"""Opens an MLflow store and finds runs in it."""
