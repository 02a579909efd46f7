"""From conf/ and the command line to a typed, checked configuration with a fingerprint."""
