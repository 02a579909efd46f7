"""The comparison as an HTML page, with its scripts and styles."""
