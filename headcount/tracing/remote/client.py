"""Forward passes run on a server: an NDIF one, or any that speaks its protocol.

A request carries the passes and the source of what is done in them, never weights, and brings back the passes' results:
scores, not patterns. It is submitted as a job whose number is kept, so that a lost connection, or a restart here, loses
nothing.
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
from headcount.tracing.remote.status import address, headers

PAUSES = (0.05, 2.0)
"""Seconds between two looks at a job: at first, and at most."""

RETRIES = 6
"""How often a request is repeated that the server could not take just then (429, 5xx, no connection)."""

GRACE = 10.0
"""Seconds for which a server may not know a job yet, or any more, before it is submitted anew."""

OCTETS = "application/octet-stream"

MOST = 1 << 34
"""Bytes of a result at most, unpacked."""


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

    def __init__(
        self,
        model_key: str,
        host: str | None = None,
        *,
        timeout: float = 3600.0,
    ) -> None:
        self.model_key, self.timeout = model_key, timeout
        self._notify: Callable[[str], Any] | None = None
        self.host = address(host)
        self.sent = self.received = 0
        self.jobs = Jobs(None)

    @property
    def fingerprint(self) -> str:
        """A digest of the model's name on the server, since the weights are not here."""
        return hashlib.blake2b(self.model_key.encode(), digest_size=12).hexdigest()

    def keep_jobs(self, path: Path, notify: Callable[[str], Any] | None = None) -> None:
        """Keep the numbers of jobs in a file, so that a later process fetches what this one submitted.

        Args:
            path: The file.
            notify: Called with what the server says of a job that it works on.
        """
        self.jobs, self._notify = Jobs(path), notify

    def run(
        self, model: TracedModel, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None
    ) -> list[Any]:
        """Run passes in one request; what hooks recorded is there afterwards as if they had run here.

        Raises:
            ServerError: The server cannot be reached, refuses the request, or failed.
        """
        answers = self._fetched(digest(self.model_key, passes), pack(model, passes))
        expected = [len(forward.recorders()) for forward in passes]
        came = [len(records) for _, records in answers]
        if came != expected:
            raise ServerError(
                f"expected the results of {len(expected)} passes that keep {expected}, the server sent {came}"
            )
        for forward, (_, records) in zip(passes, answers, strict=True):
            for recorder, values in zip(forward.recorders(), records, strict=True):
                recorder.records[:] = values
        return [result for result, _ in answers]

    def _fetched(self, request: str, blob: bytes) -> list[Any]:
        """Return the results of a job: of one that was submitted before for the same request, or of a new one."""
        remembered = self.jobs.get(request)
        try:
            answer = self._wait(remembered, known_before=True) if remembered is not None else None
            if answer is None:
                job = self._submit(blob)
                self.jobs.put(request, job)
                answer = self._wait(job)
        except JobFailedError:
            self.jobs.drop(request)
            raise
        results = self._result(answer)
        self.jobs.drop(request)
        return results

    def _submit(self, blob: bytes) -> str:
        """Send a request, and return the number of its job."""
        from nnsight.schema.request import RequestModel

        envelope = RequestModel(model_key=self.model_key, compress=True)
        self.sent += len(blob)
        reply = self._ask(
            "POST", "/request", data={"data": envelope.metadata()}, files={"blob": ("request", blob, OCTETS)}
        )
        return str(_field(reply, "id"))

    def _wait(self, job: str, *, known_before: bool = False) -> Any:
        """What a job's completion says of its result; None for one from before that the server does not know."""
        started, pause, status = time.monotonic(), PAUSES[0], ""
        while True:
            waited = time.monotonic() - started
            reply = self._ask("GET", f"/response/{job}", missing_is_none=True)
            if reply is None and known_before and waited > GRACE:
                return None
            if reply is not None:
                now = str(_field(reply, "status"))
                if now == "ERROR":
                    raise JobFailedError(_explained(str(reply.get("description") or "no reason given")))
                if now == "COMPLETED":
                    return reply.get("data")
                if now != status and self._notify is not None:
                    self._notify(f"job {job}: {now.lower()} {reply.get('description') or ''}".rstrip())
                status = now
            if waited > self.timeout:
                raise ServerError(
                    f"job {job} was not done after {self.timeout:.0f} s (last said: {status or 'nothing'}); the same "
                    "call goes on waiting for it"
                )
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    def _result(self, answer: Any) -> list[Any]:
        """Load what a completion points to; nothing but tensors and plain containers is taken from a server."""
        import zstandard

        if not isinstance(answer, str):
            raise ServerError(f"expected the address of a result from {self.host}, got {type(answer).__name__}")
        for attempt in range(RETRIES):
            content = self._download(answer)
            self.received += len(content)
            try:
                plain = zstandard.ZstdDecompressor().decompress(content, max_output_size=MOST)
                loaded = torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)
                return list(loaded["results"])
            except Exception as error:  # whatever is wrong with it, it did not come whole
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            time.sleep(PAUSES[0] * 2**attempt)
        raise ServerError(f"the result that {self.host} sent cannot be read ({reason}); the same call fetches it again")

    def _download(self, address: str) -> bytes:
        import httpx

        return self._repeated(lambda client: client.get(address), httpx.TransportError).content

    def _ask(self, method: str, path: str, *, missing_is_none: bool = False, **content: Any) -> dict[str, Any] | None:
        """One question to the server, repeated where it could not take it just then."""
        import httpx

        # A request whose sending broke off may have been taken, and must not run twice; a question may be repeated.
        again = (httpx.ConnectError, httpx.ConnectTimeout) if method == "POST" else (httpx.TransportError,)
        response = self._repeated(
            lambda client: client.request(method, self.host + path, headers=headers(), **content), *again
        )
        if missing_is_none and response.status_code == 404:
            return None
        if response.is_error:
            raise ServerError(self._refused(response))
        try:
            reply = response.json()
        except ValueError as error:
            raise ServerError(f"{self.host} does not speak NDIF's protocol: {response.text[:80]!r}") from error
        if not isinstance(reply, dict):
            raise ServerError(f"{self.host} does not speak NDIF's protocol: {response.text[:80]!r}")
        return reply

    def _repeated(self, send: Callable[[Any], Any], *again: type[Exception]) -> Any:
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
            except again as error:
                reason, wait = f"{type(error).__name__}: {error}", ""
            except httpx.TransportError as error:
                raise ServerError(
                    f"the connection to {self.host} broke off while a request was sent ({error}): whether it was taken "
                    "is not known; run the same again"
                ) from error
            time.sleep(float(wait) if wait.isdigit() else PAUSES[0] * 4**attempt)
        raise ServerError(f"{self.host} cannot be reached or is busy ({reason}); tried {RETRIES} times; try later")

    def _refused(self, response: Any) -> str:
        try:
            detail = response.json().get("detail")
        except (ValueError, AttributeError):
            detail = None
        said = f": {detail}" if detail else ""
        if key := headers().get("ndif-api-key"):
            said = said.replace(key, "(the key)")  # servers quote what they refuse
        if response.status_code in (401, 403):
            return f"{self.host} refuses the key{said}: set the variable NDIF_API_KEY to a valid one"
        return f"{self.host} refuses the request with status {response.status_code}{said}"


def _field(reply: dict[str, Any] | None, name: str) -> Any:
    if reply is None or name not in reply:
        raise ServerError(f"the server does not speak NDIF's protocol: its reply has no {name!r}")
    return reply[name]


def _explained(description: str) -> str:
    """What a server says of a job that failed, with what to do about the known kinds."""
    last = next((line for line in reversed(description.splitlines()) if line.strip()), description).strip()
    if "OutOfOrderError" in description and "grad" in description:
        return f"the server does not let requests take gradients ({last}): use method='oracle', or another server"
    if "ModuleNotFoundError" in description:
        return f"the server lacks a package that the request uses ({last}): its versions may differ from those here"
    return f"the server could not do the job: {last}"
