"""Runs grouped by configuration and compared over their seeds: the winner, its lead, and whether it is chance."""
