"""Progress, tables and status in the terminal."""
