"""Analysis of searches: the objective, the best trials, and the importance of the searched flags."""
