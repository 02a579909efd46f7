"""The network and its training. No module in this package imports Hydra or MLflow."""
