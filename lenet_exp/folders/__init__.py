"""The truth on disk: run folders, commits, owners, sweep folders, and their records."""
