"""The kinds of results."""
