"""Reports as files: Markdown, LaTeX, CSV, JSON, pictures, and MLflow's description."""
