"""Scores at several checkpoints of one training."""
