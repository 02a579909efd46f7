"""Sweeps: sessions, grids, launching, monitoring, repair, resuming, and lenet-sync."""
