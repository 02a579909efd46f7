"""Reports in the terminal: tables, progress, and status."""
