"""Grid sweeps, and what every sweep shares: session, drive, watch, repair, resume, sync."""
