"""A request as bytes: forward passes, and the source of the code that runs in them (see `headcount.remote_code`)."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

import torch

from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.hooks import run
from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.hooks.protocol import TracedModel

TOOLKIT = "headcount"
"""The package whose functions and classes travel as source, since a server does not have it."""


def pack(model: TracedModel, passes: Sequence[ForwardPass]) -> bytes:
    """Return a request as bytes: the passes, and the source of the code that runs in them."""
    import nnsight

    root, name, anatomy = model.nnsight, model.name, _plain(model.anatomy)
    serve, capture = run.serve, _Capture()
    with _as_source(), root.session(backend=capture):
        results = serve(root, name, anatomy, passes)
        nnsight.save(results)
    return capture.blob


def digest(model_key: str, passes: Sequence[ForwardPass]) -> str:
    """Return a digest of a request, the same in every process with this request."""
    return hashlib.sha256(f"{model_key} {[_content(forward) for forward in passes]}".encode()).hexdigest()


def _plain(anatomy: Anatomy) -> SimpleNamespace:
    """Return the parts of a model as objects whose class a server has."""
    blocks = [SimpleNamespace(**asdict(block)) for block in anatomy.blocks]
    family = SimpleNamespace(**asdict(anatomy.family))
    return SimpleNamespace(family=family, sizes=SimpleNamespace(**asdict(anatomy.sizes)), blocks=blocks)


class _Capture:
    """Stands in for the backend that runs a block: holds the bytes that would be sent."""

    blob = b""

    def __call__(self, tracer: Any) -> None:
        from nnsight.schema.request import RequestModel

        self.blob = RequestModel.serialize(tracer, compress=True)


@contextmanager
def _as_source() -> Iterator[None]:
    """Pack functions and classes of the toolkit as source inside the block."""
    import nnsight
    from cloudpickle import unregister_pickle_by_value

    package = sys.modules[TOOLKIT]
    nnsight.register(package)
    try:
        yield
    finally:
        unregister_pickle_by_value(package)


def _content(value: Any) -> str:
    """Return a text for a part of a request, the same in every process: its values, its code and the code's closure."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(content).hexdigest()}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_content(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_content(inner) for inner in value)}]"
    if isinstance(value, FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{value.__qualname__} {_content(value.__code__)} {_content(closure)}"
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_content(value.co_consts)}"
    if value is None or isinstance(value, str | int | float | bool | torch.dtype):
        return repr(value)
    return f"{type(value).__qualname__} {_content(getattr(value, '__dict__', {}))}"
