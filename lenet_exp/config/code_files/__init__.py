"""Files with the code of the user's own classes."""
