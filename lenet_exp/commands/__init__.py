"""One thin file per command: parse, call, print, and return the exit status."""
