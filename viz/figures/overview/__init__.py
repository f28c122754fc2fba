"""Figures of the report's first screens."""
