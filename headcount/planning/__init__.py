"""Costs of a study before it is run: operations, bytes, memory, requests, seconds."""
