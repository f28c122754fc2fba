"""Heads and feed-forward networks removed, for a run or for good."""
