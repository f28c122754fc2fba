"""Architectures as data: the paths of each one's modules, and the sizes of its models."""
