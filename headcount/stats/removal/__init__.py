"""Statistics of removal: curves in one number, and verdicts on heads."""
