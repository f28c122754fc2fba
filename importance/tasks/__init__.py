"""Tasks: documents to score and examples to differentiate."""
