"""Passes through a model that runs on a server: an NDIF one, or any that speaks its protocol.

A request carries the passes and the source of what is done in them, never weights, and brings back what the passes
result in: scores, not patterns. It is submitted as a job whose number is kept, so that a lost connection, or a restart
here, loses nothing.
"""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch

from results import InputError
from tracing import visits

if TYPE_CHECKING:
    from tracing.model import Model
    from tracing.visits import Pass

CARRIED = ("results", "tracing", "induction", "importance")
"""Packages whose functions and classes travel as source: a server does not have them."""

PAUSES = (0.05, 2.0)
"""Seconds between two looks at a job: at first, and at most."""

RETRIES = 6
"""How often a request is repeated that the server could not take just then (429, 5xx, no connection)."""


GRACE = 10.0
"""Seconds for which a server may not know a job yet, or any more, before it is submitted anew."""


def address(host: str | None = None) -> str:
    """A server's address: the one given, that in the variable NDIF_HOST, or NDIF's own.

    Raises:
        InputError: It is no address.
    """
    from nnsight.schema.config import CONFIG

    found = (host or os.environ.get("NDIF_HOST") or CONFIG.API.HOST).rstrip("/")
    if "@" in found:  # before anything is said of it: what stands there may be secret
        raise InputError(
            "a server's address is kept with every result: expected one without a user or password, which go into the "
            "variable NDIF_API_KEY"
        )
    try:
        parts = urlsplit(found)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number or too large
        good = False
    if not good or not found.isprintable() or " " in found:
        raise InputError(f"remote must be True or a server's address (http://HOST:PORT), not {found!r:.200}")
    return found


def has_key() -> bool:
    """Whether there is a key to show to the server."""
    return "ndif-api-key" in _headers()


def running(host: str | None = None) -> list[str]:
    """The models that a server runs at present.

    Raises:
        ServerError: It does not answer, or says something else.
    """
    import httpx

    try:
        reply = httpx.get(f"{address(host)}/status", timeout=5.0, trust_env=False).raise_for_status().json()
        deployed = reply["deployments"].values()
        return sorted({one["repo_id"] for one in deployed if one.get("application_state") == "RUNNING"})
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"{address(host)} does not say what it runs ({type(error).__name__}: {error})") from error


class ServerError(Exception):
    """The server cannot be reached, refuses, or failed; the message says which, and what to do."""


class JobFailedError(ServerError):
    """The server took the job and could not do it."""


class Server:
    """Where a model runs, if not here.

    Args:
        model_key: What the server knows the model by.
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
        self.say: Callable[[str], Any] | None = None
        self.host = address(host)
        self.sent = self.received = 0
        self.jobs = Jobs(None)

    @property
    def fingerprint(self) -> str:
        """What tells this model's weights from others: they are not here, so it is their name on the server."""
        return hashlib.blake2b(self.model_key.encode(), digest_size=12).hexdigest()

    def keep_jobs(self, path: Path, say: Callable[[str], Any] | None = None) -> None:
        """Keep the numbers of jobs in a file, so that a later process fetches what this one submitted.

        Args:
            path: The file.
            say: Told what the server says of a job that it works on.
        """
        self.jobs, self.say = Jobs(path), say

    def play(self, model: "Model", passes: "Sequence[Pass]") -> list[Any]:
        """Run passes in one request; what hooks kept is there afterwards as if they had run here.

        Raises:
            ServerError: The server cannot be reached, refuses the request, or failed.
        """
        asked = hashlib.sha256(f"{self.model_key} {[_said(one) for one in passes]}".encode()).hexdigest()
        found = self._fetched(asked, _packed(model, passes))
        shape = [len(one.keepers()) for one in passes]
        came = [len(kept) for _, kept in found]
        if came != shape:
            raise ServerError(f"expected the results of {len(shape)} passes that keep {shape}, the server sent {came}")
        for one, (_, kept) in zip(passes, found, strict=True):
            for keeper, values in zip(one.keepers(), kept, strict=True):
                keeper.kept[:] = values
        return [result for result, _ in found]

    def _fetched(self, asked: str, blob: bytes) -> list[Any]:
        """The results of a job: of one that was submitted before for the same, or of a new one."""
        remembered = self.jobs.get(asked)
        try:
            answer = self._wait(remembered, known_before=True) if remembered is not None else None
            if answer is None:
                job = self._submit(blob)
                self.jobs.put(asked, job)
                answer = self._wait(job)
        except JobFailedError:
            self.jobs.drop(asked)
            raise
        found = self._result(answer)
        self.jobs.drop(asked)
        return found

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
                if now != status and self.say is not None:
                    self.say(f"job {job}: {now.lower()} {reply.get('description') or ''}".rstrip())
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
                return list(loaded["found"])
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
            lambda client: client.request(method, self.host + path, headers=_headers(), **content), *again
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
        if key := _headers().get("ndif-api-key"):
            said = said.replace(key, "(the key)")  # servers quote what they refuse
        if response.status_code in (401, 403):
            return f"{self.host} refuses the key{said}: set the variable NDIF_API_KEY to a valid one"
        return f"{self.host} refuses the request with status {response.status_code}{said}"


def _headers() -> dict[str, str]:
    from nnsight.schema.config import CONFIG

    key = os.environ.get("NDIF_API_KEY") or CONFIG.API.APIKEY
    said = {"nnsight-version": version("nnsight"), "python-version": sys.version}
    return said | ({"ndif-api-key": key} if key else {})


OCTETS = "application/octet-stream"
MOST = 1 << 34
"""Bytes of a result at most, unpacked."""


class Jobs:
    """Numbers of jobs whose results are not here yet, by what was asked; in a file, they outlive this process."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._kept = path, {}
        if path is not None and path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._kept = {str(key): str(value) for key, value in kept.items()}
            except (ValueError, AttributeError):
                self._kept = {}  # a damaged list costs a job that runs again

    def get(self, digest: str) -> str | None:
        """The job that was submitted for this, if its result is not here yet."""
        return self._kept.get(digest)

    def put(self, digest: str, job: str) -> None:
        """Remember a job."""
        self._kept[digest] = job
        self._write()

    def drop(self, digest: str) -> None:
        """Forget a job: its result is here, or will never be."""
        if self._kept.pop(digest, None) is not None:
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            aside = self._path.with_name(f"{self._path.name}.new")
            aside.write_text(json.dumps(self._kept), encoding="utf-8")
            aside.replace(self._path)


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


def _said(value: Any) -> str:
    """What a request asks for, the same in every process that asks it: values, code and all that it reads."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(content).hexdigest()}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_said(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_said(inner) for inner in value)}]"
    if isinstance(value, FunctionType):
        read = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{value.__qualname__} {_said(value.__code__)} {_said(read)}"
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_said(value.co_consts)}"
    if value is None or isinstance(value, str | int | float | bool | torch.dtype):
        return repr(value)
    return f"{type(value).__qualname__} {_said(getattr(value, '__dict__', {}))}"


def _packed(model: "Model", passes: "Sequence[Pass]") -> bytes:
    """A request as bytes: the passes, and the source of what is done in them."""
    import nnsight

    root, name = model.nnsight, model.name
    family, sizes = SimpleNamespace(**asdict(model.family)), SimpleNamespace(**asdict(model.sizes))
    serve, capture = visits.serve, _Capture()
    with _carried(), root.session(backend=capture):
        found = serve(root, name, family, sizes, passes)
        nnsight.save(found)
    return capture.blob


class _Capture:
    """In place of a backend that runs a block: what would be sent."""

    blob = b""

    def __call__(self, tracer: Any) -> None:
        from nnsight.schema.request import RequestModel

        self.blob = RequestModel.serialize(tracer, compress=True)


@contextmanager
def _carried() -> Iterator[None]:
    """Let functions and classes of the toolkit travel as source while a request is packed, and only then."""
    import nnsight
    from cloudpickle import unregister_pickle_by_value

    modules = [sys.modules[name] for name in CARRIED if name in sys.modules]
    for module in modules:
        nnsight.register(module)
    try:
        yield
    finally:
        for module in modules:
            unregister_pickle_by_value(module)
