"""Errors of models on a server."""


class ServerError(Exception):
    """A server cannot be reached, refuses a request, or fails; the message says which, and what to do."""


class JobFailedError(ServerError):
    """A server accepted a job, and the job failed."""
