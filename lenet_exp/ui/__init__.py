"""MLflow's user interface: starts it and creates links into it."""
