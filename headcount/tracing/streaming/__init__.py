"""Models larger than memory, run block by block from disk."""
