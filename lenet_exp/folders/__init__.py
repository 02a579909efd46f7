"""Run and sweep folders on disk, from which everything else is derived: checkpoints, owners, and records."""
