"""Run and sweep folders on disk, with their checkpoints, owners, and records; everything else is derived from them."""
