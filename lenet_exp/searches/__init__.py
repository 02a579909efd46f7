"""Searches: space, trials, samplers and pruners, the study database, and the race over seeds."""
