"""Configurations of runs: composition from conf/ and the command line, validation, and
fingerprints.
"""
