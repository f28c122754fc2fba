"""Models opened: from a folder, the Hub, or in hand."""
