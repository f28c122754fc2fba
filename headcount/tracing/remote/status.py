"""A server's address, the key that is sent to it, and the models that it runs."""

import os
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

from headcount.results import InputError
from headcount.tracing.remote.errors import ServerError


def server_address(host: str | None = None) -> str:
    """Return a server's address: the argument, the variable NDIF_HOST, or NDIF's own.

    Raises:
        InputError: It is not an address.
    """
    from nnsight.schema.config import CONFIG

    url = (host or os.environ.get("NDIF_HOST") or CONFIG.API.HOST).rstrip("/")
    if "@" in url:  # first, since the messages below quote the address
        raise InputError(
            "a server's address is stored with every result: expected one without a user or password, which go into "
            "the variable NDIF_API_KEY"
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number or too large
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise InputError(f"remote must be True or a server's address (http://HOST:PORT), not {url!r:.200}")
    return url


def has_server_key() -> bool:
    """Return True if there is a key to send to the server."""
    return "ndif-api-key" in headers()


def running_models(host: str | None = None) -> list[str]:
    """Return the models that a server runs at present.

    Raises:
        ServerError: It does not answer, or does not say what it runs.
    """
    import httpx

    url = server_address(host)
    try:
        reply = httpx.get(f"{url}/status", timeout=5.0, trust_env=False).raise_for_status().json()
        deployed = reply["deployments"].values()
        return sorted({model["repo_id"] for model in deployed if model.get("application_state") == "RUNNING"})
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"{url} does not say what it runs ({type(error).__name__}: {error})") from error


def headers() -> dict[str, str]:
    """Return the headers of a request, with the key if there is one."""
    from nnsight.schema.config import CONFIG

    key = os.environ.get("NDIF_API_KEY") or CONFIG.API.APIKEY
    versions = {"nnsight-version": version("nnsight"), "python-version": sys.version}
    return versions | ({"ndif-api-key": key} if key else {})
