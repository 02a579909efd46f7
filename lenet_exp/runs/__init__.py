"""Makes jobs, opens their runs and trains them."""
