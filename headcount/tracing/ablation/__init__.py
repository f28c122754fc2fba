"""Heads and feed-forward networks removed: for a run (`masked`), or out of the weights (`pruned`)."""
