"""Searches: space, trials, samplers and pruners, study database, and the race over seeds."""
