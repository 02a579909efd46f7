"""Files and pictures of a comparison or a run."""
