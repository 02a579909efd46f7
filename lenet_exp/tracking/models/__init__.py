"""Trained models and records in MLflow: logged, registered as champions, loaded."""
