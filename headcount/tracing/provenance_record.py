"""Provenance: the model, weights, versions, settings and time behind a number."""

import shlex
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from headcount.tracing.hooks.modules import quantisation
from headcount.tracing.model import Model
from headcount.tracing.present import present_hooks, present_replacements
from headcount.tracing.removed_parts import means_of_pruned

_PACKAGES = ("headcount", "torch", "transformers", "nnsight")


def identity(model: Model) -> dict[str, Any]:
    """Return what identifies a model: name, revision, fingerprint, dtype, quantisation of its weights if any."""
    method = quantisation(model.hf)
    return {
        "name": model.name,
        "revision": model.revision,
        "fingerprint": model.fingerprint(),
        "dtype": str(model.dtype).removeprefix("torch."),
        **({"quantised": method} if method else {}),
    }


def provenance(model: Model, **settings: Any) -> dict[str, Any]:
    """Return the record that every result carries; `settings` are those of the measurement."""
    fields = identity(model)
    removed = model.removed if model.pruned is None else model.pruned
    return {
        "model": fields.pop("name"),
        **fields,
        "device": str(model.device),
        **({"threads": torch.get_num_threads()} if str(model.device) == "cpu" else {}),
        "removed_heads": [] if removed is None else removed.heads.nonzero().tolist(),
        "removed_ffns": [] if removed is None else removed.ffns.nonzero().flatten().tolist(),
        **(
            {}
            if removed is None or not removed.experts.any()
            else {"removed_experts": removed.experts.nonzero().tolist()}
        ),
        "structurally_pruned": model.pruned is not None,
        **({"ablated": ablated} if (ablated := _ablated(model)) else {}),
        **({"hooks": [str(name) for name, _ in hooks]} if (hooks := present_hooks(model)) else {}),
        **settings,
        "versions": {package: _version(package) for package in _PACKAGES},
        "command": _command(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _ablated(model: Model) -> list[dict[str, Any]]:
    """Return the parts whose outputs other values than zeros replace, by block, with the reference of these values."""
    if (record := means_of_pruned(model.hf)) is not None:
        return [record]  # of a pruned model's removed parts
    return [
        {
            "heads": removed.heads.nonzero().tolist(),
            "ffns": removed.ffns.nonzero().flatten().tolist(),
            **replacement.record,
        }
        for removed, replacement in present_replacements(model)
    ]


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _command() -> str | None:
    """Return the command line if the `headcount` command runs; arguments of a notebook's kernel say nothing."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return shlex.join([program, *sys.argv[1:]]) if program == "headcount" else None
