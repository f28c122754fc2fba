"""Weights on disk: the tensors of a checkpoint, and how they come into memory."""
