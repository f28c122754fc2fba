"""Forward passes run on a server: an NDIF one, or any that speaks its protocol.

A request holds the passes and the source of the code that runs in them, never weights; its reply holds the passes'
results: scores, not patterns. It is submitted as a job whose number is recorded, so that nothing is lost with the
connection or with this process.
"""

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.hooks.protocol import TracedModel
from headcount.tracing.remote.errors import JobFailedError, ServerError
from headcount.tracing.remote.jobs import Jobs
from headcount.tracing.remote.payload import digest, pack
from headcount.tracing.remote.status import headers, server_address

PAUSES = (0.05, 2.0)
"""Seconds between two questions about a job: at first, and at most."""

RETRIES = 6
"""The number of attempts with a server that is busy (429, 5xx) or cannot be reached."""

GRACE = 10.0
"""Seconds for which a server may not know a job, before the job is submitted again."""

OCTETS = "application/octet-stream"

MOST = 1 << 34
"""The largest number of bytes of an unpacked result."""


class Client:
    """Runs forward passes of one model on a server.

    Args:
        model_key: The name by which the server knows the model.
        host: The server's address; None takes the variable NDIF_HOST, or NDIF's own.
        timeout: Seconds to wait for a job.

    Attributes:
        sent: Bytes sent so far.
        received: Bytes of results received so far.
    """

    def __init__(self, model_key: str, host: str | None = None, *, timeout: float = 3600.0) -> None:
        self.model_key, self.timeout = model_key, timeout
        self._notify: Callable[[str], Any] | None = None
        self.host = server_address(host)
        self.sent = self.received = 0
        self.jobs = Jobs(None)

    @property
    def fingerprint(self) -> str:
        """The digest of the model's name on the server, since the weights are not here."""
        return hashlib.blake2b(self.model_key.encode(), digest_size=12).hexdigest()

    def record_jobs(self, path: Path, notify: Callable[[str], Any] | None = None) -> None:
        """Record the numbers of jobs in a file, so that a later process fetches results of this one's jobs.

        Args:
            path: The file.
            notify: Called with the status of a job that the server works on.
        """
        self.jobs, self._notify = Jobs(path), notify

    def run(
        self, model: TracedModel, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None
    ) -> list[Any]:
        """Run passes in one request; afterwards the hooks have their records, as if they had run here.

        Raises:
            ServerError: The server cannot be reached, refuses the request, or failed.
        """
        replies = self._results(digest(self.model_key, passes), pack(model, passes))
        expected = [len(forward.recorders()) for forward in passes]
        actual = [len(records) for _, records in replies]
        if actual != expected:
            raise ServerError(
                f"expected the results of {len(expected)} passes with the records of {expected} hooks, the server sent "
                f"{actual}; its version may differ from this one"
            )
        for forward, (_, records) in zip(passes, replies, strict=True):
            for recorder, values in zip(forward.recorders(), records, strict=True):
                recorder.records[:] = values
        return [result for result, _ in replies]

    def _results(self, request: str, blob: bytes) -> list[Any]:
        """Return the results of a job: of one that was submitted before for the same request, or of a new one.

        Args:
            request: The request's digest.
            blob: Its bytes.
        """
        earlier = self.jobs.get(request)
        try:
            url = self._wait(earlier, submitted_before=True) if earlier is not None else None
            if url is None:
                job = self._submit(blob)
                self.jobs.put(request, job)
                url = self._wait(job)
        except JobFailedError:
            self.jobs.drop(request)
            raise
        results = self._load(url)
        self.jobs.drop(request)
        return results

    def _submit(self, blob: bytes) -> str:
        """Send a request, and return the number of its job."""
        from nnsight.schema.request import RequestModel

        envelope = RequestModel(model_key=self.model_key, compress=True)
        self.sent += len(blob)
        reply = self._request(
            "POST", "/request", data={"data": envelope.metadata()}, files={"blob": ("request", blob, OCTETS)}
        )
        return str(_field(reply, "id"))

    def _wait(self, job: str, *, submitted_before: bool = False) -> Any:
        """Return the address of a job's result; None for an earlier process's job that the server does not know."""
        started, pause, status = time.monotonic(), PAUSES[0], ""
        while True:
            waited = time.monotonic() - started
            reply = self._request("GET", f"/response/{job}", missing_is_none=True)
            if reply is None and submitted_before and waited > GRACE:
                return None
            if reply is not None:
                now = str(_field(reply, "status"))
                if now == "ERROR":
                    raise JobFailedError(_failure(str(reply.get("description") or "no reason given")))
                if now == "COMPLETED":
                    return reply.get("data")
                if now != status and self._notify is not None:
                    self._notify(f"job {job}: {now.lower()} {reply.get('description') or ''}".rstrip())
                status = now
            if waited > self.timeout:
                raise ServerError(
                    f"job {job} was not done after {self.timeout:.0f} s (last status: {status or 'none'}); the same "
                    "call goes on waiting for it"
                )
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    def _load(self, url: Any) -> list[Any]:
        """Load a result; nothing but tensors and plain containers is accepted from a server."""
        import zstandard

        if not isinstance(url, str):
            raise ServerError(f"expected the address of a result from {self.host}, got {type(url).__name__}")
        for attempt in range(RETRIES):
            content = self._download(url)
            self.received += len(content)
            try:
                plain = zstandard.ZstdDecompressor().decompress(content, max_output_size=MOST)
                loaded = torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)
                return list(loaded["results"])
            except Exception as error:  # any error here means that the download was not whole
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            time.sleep(PAUSES[0] * 2**attempt)
        raise ServerError(f"the result that {self.host} sent cannot be read ({reason}); the same call fetches it again")

    def _download(self, url: str) -> bytes:
        import httpx

        return self._repeated(lambda client: client.get(url), httpx.TransportError).content

    def _request(
        self, method: str, path: str, *, missing_is_none: bool = False, **content: Any
    ) -> dict[str, Any] | None:
        """Return the server's reply to an HTTP request, which is repeated while the server is busy."""
        import httpx

        # If the connection breaks while a job is sent, the server may have accepted it: it must not run twice.
        repeatable = (httpx.ConnectError, httpx.ConnectTimeout) if method == "POST" else (httpx.TransportError,)
        response = self._repeated(
            lambda client: client.request(method, self.host + path, headers=headers(), **content), *repeatable
        )
        if missing_is_none and response.status_code == 404:
            return None
        if response.is_error:
            raise ServerError(self._refusal(response))
        try:
            reply = response.json()
        except ValueError as error:
            raise ServerError(f"{self.host} does not speak NDIF's protocol: {response.text[:80]!r}") from error
        if not isinstance(reply, dict):
            raise ServerError(f"{self.host} does not speak NDIF's protocol: {response.text[:80]!r}")
        return reply

    def _repeated(self, send: Callable[[Any], Any], *repeatable: type[Exception]) -> Any:
        """Send until the server has time; errors of the given classes are tried again."""
        import httpx

        for attempt in range(RETRIES):
            reason = ""
            try:
                with httpx.Client(timeout=httpx.Timeout(10.0, read=600.0), trust_env=False) as client:
                    response = send(client)
                if response.status_code != 429 and response.status_code < 500:
                    return response
                reason = f"status {response.status_code}"
                wait = response.headers.get("retry-after", "")
            except repeatable as error:
                reason, wait = f"{type(error).__name__}: {error}", ""
            except httpx.TransportError as error:
                raise ServerError(
                    f"the connection to {self.host} broke while a request was sent ({error}); the server may have "
                    "accepted it or not: run the same again"
                ) from error
            time.sleep(float(wait) if wait.isdigit() else PAUSES[0] * 4**attempt)
        raise ServerError(f"{self.host} cannot be reached or is busy ({reason}); tried {RETRIES} times; try later")

    def _refusal(self, response: Any) -> str:
        """Return the error message for a response that refuses a request."""
        try:
            detail = response.json().get("detail")
        except (ValueError, AttributeError):
            detail = None
        reason = f": {detail}" if detail else ""
        if key := headers().get("ndif-api-key"):
            reason = reason.replace(key, "(the key)")  # servers may quote the key that they refuse
        if response.status_code in (401, 403):
            return f"{self.host} refuses the key{reason}: set the variable NDIF_API_KEY to a valid one"
        return f"{self.host} refuses the request with status {response.status_code}{reason}"


def _field(reply: dict[str, Any] | None, name: str) -> Any:
    if reply is None or name not in reply:
        raise ServerError(f"the server does not speak NDIF's protocol: its reply has no {name!r}")
    return reply[name]


def _failure(description: str) -> str:
    """Return the error message for a failed job, given the server's description; known kinds get an advice."""
    last = next((line for line in reversed(description.splitlines()) if line.strip()), description).strip()
    if "OutOfOrderError" in description and "grad" in description:
        return f"the server does not let requests take gradients ({last}): use method='oracle', or another server"
    if "ModuleNotFoundError" in description:
        return f"the server lacks a package that the request uses ({last}): its versions may differ from those here"
    return f"the server could not do the job: {last}"
