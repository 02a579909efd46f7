"""Networks and their training. No module in this package imports Hydra or MLflow."""
