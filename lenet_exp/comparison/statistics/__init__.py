"""The statistics of comparisons: tests, corrections, intervals, and power, for arrays of
accuracies.
"""
