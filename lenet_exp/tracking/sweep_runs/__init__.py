"""The MLflow run that represents a sweep: its counts, reports, and parameters."""
