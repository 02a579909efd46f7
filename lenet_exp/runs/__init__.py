"""Functions that start, train, resume, and reproduce runs."""
