"""Jobs side by side in processes of their own. Knows nothing of what they do."""
