"""Reports as files (Markdown, LaTeX, CSV, JSON, and figures), and descriptions for MLflow runs."""
