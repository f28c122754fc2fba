"""The units of a study: induction scores, importance, means, pruning, analyses."""
