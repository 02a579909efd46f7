"""Reports for users in the terminal, in the HTML report, in files, and in MLflow."""
