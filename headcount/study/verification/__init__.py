"""Numbers that are known of a model, each with its source, and the check that they come out again."""
