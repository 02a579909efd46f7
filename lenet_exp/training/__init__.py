"""The network and its training. Nothing here imports Hydra or MLflow."""
