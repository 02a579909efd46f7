"""Whatever is typed or found on disk: an answer or one line, soon."""
