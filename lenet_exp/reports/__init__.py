"""Reports for users in the terminal, on the HTML report, in files, and in MLflow."""
