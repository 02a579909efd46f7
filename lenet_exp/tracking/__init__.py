"""Uploads run folders and sweep folders to MLflow. Only this package and removal/ import mlflow."""
