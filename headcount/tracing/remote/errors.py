"""Errors of models on a server."""


class ServerError(Exception):
    """The server cannot be reached, refuses, or failed; the message says which, and what to do."""


class JobFailedError(ServerError):
    """The server took the job and could not do it."""
