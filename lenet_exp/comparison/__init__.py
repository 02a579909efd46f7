"""Comparison of configurations over seeds: the winner, its lead, and whether that lead could be
chance.
"""
