"""The command line."""

from headcount.cli.app import main

__all__ = ["main"]
