"""Figures of how heads work together, and of how they form in training."""
