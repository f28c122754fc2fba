"""Rows of tasks, wherever they come from."""
