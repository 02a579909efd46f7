"""The configuration: composed from conf/ and the command line, typed, checked, and identified by a fingerprint."""
