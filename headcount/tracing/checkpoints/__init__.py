"""Checkpoints on disk: their files, the tensors in them, and the reading of single tensors."""
