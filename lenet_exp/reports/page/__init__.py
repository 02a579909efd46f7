"""The HTML page for a comparison."""
