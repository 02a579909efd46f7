"""Rules for the user's own classes and functions, checked on a few images before training."""
