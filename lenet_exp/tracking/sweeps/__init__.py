"""The MLflow run of a sweep: counts, reports, and parameters."""
