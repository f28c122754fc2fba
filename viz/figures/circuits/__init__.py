"""Figures of what heads read from one another."""
