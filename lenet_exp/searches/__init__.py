"""Searches: the search space, trials, samplers and pruners, the study database, and the race over
seeds.
"""
