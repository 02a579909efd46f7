"""A search, whole: its space, plan, trials, samplers, pruners, study and seed race."""
