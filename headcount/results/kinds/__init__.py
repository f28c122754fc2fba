"""The kinds of results that measurements return."""
