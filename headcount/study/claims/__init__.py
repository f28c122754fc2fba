"""The claims of the paper, each with a criterion, and the verdicts of a run's results on them."""
