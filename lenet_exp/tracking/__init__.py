"""MLflow: stores, uploads, models, and the runs of sweeps."""
