"""Public datasets, each read by its name into records; see `registry`."""
