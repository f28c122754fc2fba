"""A study over several processes and machines: Ray workers, shares of a job array."""
