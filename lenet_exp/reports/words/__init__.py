"""Sentences about comparisons, searches, and studies, which all reports use."""
