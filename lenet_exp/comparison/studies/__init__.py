"""Studies of a comparison: questions that come after which configuration is best."""
