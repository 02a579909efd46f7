"""A sweep's own run in MLflow: its state, report and parameters."""
