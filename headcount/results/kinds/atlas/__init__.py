"""The head atlas as a result: its scores, and examples in a text."""
