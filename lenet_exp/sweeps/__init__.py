"""Functions that plan, launch, monitor, repair, and resume sweeps, and that upload their
results.
"""
