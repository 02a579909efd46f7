"""Tests the leader of a sweep on new seeds, or against a baseline."""
