"""Figures of the head atlas."""
