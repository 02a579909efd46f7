"""The HTML report for a comparison."""
