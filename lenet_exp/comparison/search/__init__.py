"""What a search found: its objective, its best trials, and which of the searched flags mattered."""
