"""Run and sweep folders on disk, with their checkpoints, owners, and records.

All reports are derived from them.
"""
