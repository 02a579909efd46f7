"""Makes each kind of figure and table from small sweeps, and compiles a two-column paper with
them.
"""
