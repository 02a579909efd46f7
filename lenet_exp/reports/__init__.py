"""Reports: what users see in the terminal, on the page, in files, and in MLflow."""
