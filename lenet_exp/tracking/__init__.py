"""Sends what run folders and sweep folders hold to MLflow. Only this package imports mlflow."""
