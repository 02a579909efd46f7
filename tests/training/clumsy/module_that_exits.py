"""A module of a user's own that ends the process."""

import sys

sys.exit(0)
