"""MLflow's UI: starts its server and creates links to its pages."""
