"""Reports for users in the terminal, on the HTML page, in files, and in MLflow."""
