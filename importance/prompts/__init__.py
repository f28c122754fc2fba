"""Prompts made of rows."""
