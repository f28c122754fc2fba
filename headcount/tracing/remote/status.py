"""A server's address, the key that is shown to it, and the models that it runs."""

import os
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

from headcount.results import InputError
from headcount.tracing.remote.errors import ServerError


def address(host: str | None = None) -> str:
    """Return a server's address: the one given, that in the variable NDIF_HOST, or NDIF's own.

    Raises:
        InputError: It is no address.
    """
    from nnsight.schema.config import CONFIG

    url = (host or os.environ.get("NDIF_HOST") or CONFIG.API.HOST).rstrip("/")
    if "@" in url:  # before anything is said of it: what stands there may be secret
        raise InputError(
            "a server's address is kept with every result: expected one without a user or password, which go into the "
            "variable NDIF_API_KEY"
        )
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number or too large
        good = False
    if not good or not url.isprintable() or " " in url:
        raise InputError(f"remote must be True or a server's address (http://HOST:PORT), not {url!r:.200}")
    return url


def has_key() -> bool:
    """Return True if there is a key to show to the server."""
    return "ndif-api-key" in headers()


def running(host: str | None = None) -> list[str]:
    """Return the models that a server runs at present.

    Raises:
        ServerError: It does not answer, or says something else.
    """
    import httpx

    try:
        reply = httpx.get(f"{address(host)}/status", timeout=5.0, trust_env=False).raise_for_status().json()
        deployed = reply["deployments"].values()
        return sorted({model["repo_id"] for model in deployed if model.get("application_state") == "RUNNING"})
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"{address(host)} does not say what it runs ({type(error).__name__}: {error})") from error


def headers() -> dict[str, str]:
    """Return the headers of a request, the key among them if there is one."""
    from nnsight.schema.config import CONFIG

    key = os.environ.get("NDIF_API_KEY") or CONFIG.API.APIKEY
    versions = {"nnsight-version": version("nnsight"), "python-version": sys.version}
    return versions | ({"ndif-api-key": key} if key else {})
