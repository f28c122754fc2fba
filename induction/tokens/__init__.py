"""Tokens that a model reads: random sequences that repeat or do not, and the prompts of recorded patterns."""
