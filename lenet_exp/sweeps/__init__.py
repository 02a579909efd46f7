"""Sweeps: planning, launching, monitoring, repairing, and resuming them, and uploading their results."""
