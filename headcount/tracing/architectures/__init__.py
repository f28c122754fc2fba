"""Architectures as data: where each keeps its parts, and how large they are."""
