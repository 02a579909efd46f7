"""MLflow integration: stores, uploads, models, and the MLflow runs that represent sweeps."""
