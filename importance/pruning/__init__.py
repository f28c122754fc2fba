"""Accuracy as heads and feed-forward networks are removed."""
