"""Figures, each drawn from a result."""
