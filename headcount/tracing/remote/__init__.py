"""Models that run on an NDIF server."""
