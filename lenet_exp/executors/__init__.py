"""Where jobs run side by side."""
