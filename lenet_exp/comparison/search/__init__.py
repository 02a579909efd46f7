"""Analysis of searches: objective, best trials, and importance of the searched flags."""
