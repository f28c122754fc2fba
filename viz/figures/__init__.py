"""Figures, each from a result."""
