"""The connection to a Ray cluster."""

import logging
import os
import socket
from typing import Any

from headcount.results import InputError

STORE = 80_000_000
"""Bytes of memory that Ray shares between processes of this machine: its minimum, since names need few."""
TIMEOUT = 10.0
"""Seconds in which the cluster must answer."""


def connect(address: str) -> Any:
    """Connect to a cluster, and return the module `ray`.

    Args:
        address: HOST:PORT; `auto` for the cluster that this machine is part of; or `local` for a cluster of this
            machine alone, which ends with the study.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    # Ray warns that it will do this by itself.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray: pip install 'headcount[ray]'") from error
    options: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "object_store_memory": STORE}
    try:
        if address not in ("auto", "local"):
            _check_answers(address)
        ray.init(address=address, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        raise InputError(
            f"no Ray cluster at {address} ({error}): expected HOST:PORT, auto on a machine of a cluster that was "
            "started with ray start, or local"
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Fail at once where nothing listens: Ray would retry for minutes.

    Raises:
        OSError: Nothing listens.
        ValueError: It is not HOST:PORT.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        raise ValueError("it names no port")
    socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
