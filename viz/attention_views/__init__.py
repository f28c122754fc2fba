"""Interactive views of attention patterns and tokens."""
