"""Hardware for a study: a known device, a device described in a file, or this machine, measured."""

import os
import re
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch

from headcount.planning.shape import Shape
from headcount.results import InputError
from headcount.study import parse_toml, read_toml_text
from headcount.tracing.internal import TOKENS

KEYS = {
    "flops_16": "operations a second at 16 bits",
    "flops_32": "operations a second at 32 bits",
    "memory": "bytes of memory a device",
    "bandwidth": "bytes a second from memory",
    "utilisation": "the share of the operations a second that is reached, above 0 and at most 1",
}
OPTIONAL = {"name": "a name for it", "devices": "the number of devices", "kind": "cuda or cpu"}


@dataclass(frozen=True)
class Hardware:
    """One or more devices of a kind.

    Attributes:
        name: A name for it.
        devices: The number of devices. Layers are spread over them and run one after another: more devices hold more,
            at the same speed.
        kind: `cuda` or `cpu`, on which the size of batches depends.
        flops: Operations a second of one device, as they are expected in practice.
        memory: Bytes that one device holds.
        bandwidth: Bytes a second from its memory.
        source: The source of these numbers, for a person.
    """

    name: str
    devices: int
    kind: str
    flops: float
    memory: float
    bandwidth: float
    source: str


def choose_hardware(name: str, shape: Shape, dtype: torch.dtype, device: str | None = None) -> Hardware:
    """Return the hardware of a name.

    Args:
        name: `8xA100-80GB` or another device of the table, with or without a number; `this`; or a TOML file.
        shape: The model that is to run on it: this machine is measured with products of its size.
        dtype: Number format of the weights.
        device: The device of this machine, as transformers takes it: None is the CPU.

    Raises:
        InputError: There is no such device or file, or a key of the file is unknown, missing or out of range.
    """
    if name == "this":
        return measure_this_machine(shape, dtype, device)
    if name.endswith(".toml"):
        return _from_file(Path(os.path.expanduser(name)), dtype)
    match = re.fullmatch(r"(?:([1-9][0-9]{0,5})x)?(.+)", name)
    table = known_devices()
    if match is None or match[2] not in table:
        raise InputError(
            f"--hardware must be one of {', '.join(table)}, with a number in front like 8x{next(iter(table))}, or "
            f"this, or a TOML file, not {name!r}"
        )
    return _described(table[match[2]] | {"name": name, "devices": int(match[1] or 1)}, dtype)


def known_devices() -> dict[str, dict[str, Any]]:
    """Return the table of known devices."""
    return tomllib.loads(files("headcount.planning").joinpath("hardware.toml").read_text(encoding="utf-8"))


def _from_file(path: Path, dtype: torch.dtype) -> Hardware:
    entry = parse_toml(read_toml_text(path), str(path))
    expected = "; ".join(f"{key} ({meaning})" for key, meaning in (KEYS | OPTIONAL).items())
    if unknown := sorted(entry.keys() - KEYS.keys() - OPTIONAL.keys()):
        raise InputError(f"{path}: there is no key {unknown[0]!r}; expected {expected}")
    if missing := [key for key in KEYS if key not in entry]:
        raise InputError(f"{path}: {missing[0]} is missing; expected {expected}")
    for key in KEYS:
        value = entry[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise InputError(f"{path}: {key} must be a number above 0, not {value!r:.40}")
    devices, name = entry.get("devices", 1), entry.get("name", "")
    if type(devices) is not int or not 1 <= devices < 1_000_000:
        raise InputError(f"{path}: devices must be a whole number of 1 or more, not {devices!r:.40}")
    if not isinstance(name, str) or not f"{name}.".isprintable():
        raise InputError(f"{path}: name must be a line of text, not {name!r:.40}")
    if entry["utilisation"] > 1:
        raise InputError(f"{path}: utilisation must be at most 1, not {entry['utilisation']}")
    if entry.get("kind", "cuda") not in ("cuda", "cpu"):
        raise InputError(f"{path}: kind must be cuda or cpu, not {entry['kind']!r}")
    return _described({"name": path.stem} | entry, dtype)


def _described(entry: dict[str, Any], dtype: torch.dtype) -> Hardware:
    """The hardware of an entry of the table or of a file."""
    bits = 16 if dtype.itemsize <= 2 else 32
    peak, share = float(entry[f"flops_{bits}"]), float(entry["utilisation"])
    return Hardware(
        name=str(entry["name"]),
        devices=int(entry.get("devices", 1)),
        kind=entry.get("kind", "cuda"),
        flops=peak * share,
        memory=float(entry["memory"]),
        bandwidth=float(entry["bandwidth"]),
        source=f"{peak / 1e12:g} TFLOP/s at {bits} bits, of which {share:.0%} are assumed to be reached",
    )


def measure_this_machine(shape: Shape, dtype: torch.dtype, device: str | None = None) -> Hardware:
    """Measure this machine, for some seconds.

    Args:
        shape: The model, whose layers' matrices are multiplied.
        dtype: Their number format.
        device: The device, as transformers takes it: None is the CPU.
    """
    on_gpu = device is not None and device != "cpu" and torch.cuda.is_available()
    place = torch.device("cuda" if on_gpu else "cpu")
    flops, bandwidth = _product_rate(shape, dtype, place), _bandwidth(place)
    memory = torch.cuda.get_device_properties(0).total_memory if on_gpu else _memory_of_machine()
    return Hardware(
        name="this machine",
        devices=torch.cuda.device_count() if on_gpu and device == "auto" else 1,
        kind=place.type,
        flops=flops,
        memory=memory,
        bandwidth=bandwidth,
        source=f"the products of a layer with {TOKENS[place.type]} tokens in {dtype}, and copies, timed now",
    )


def _memory_of_machine() -> float:
    return float(psutil.virtual_memory().total)


def _product_rate(shape: Shape, dtype: torch.dtype, place: torch.device) -> float:
    """Operations a second of a layer's products, which differ in speed: each shape is timed, and counts by its size."""
    s = shape.sizes
    heads, groups = s.n_heads * s.d_head, s.n_kv_heads * s.d_head
    products = [(s.d_model, heads), (s.d_model, groups), (s.d_model, groups), (heads, s.d_model)]
    if d_mlp := shape.d_mlp:
        products += [(s.d_model, d_mlp)] * (2 if shape.gated else 1) + [(d_mlp, s.d_model)]
    seconds = sum(number * _product_seconds(*size, dtype, place) for size, number in Counter(products).items())
    return 2.0 * TOKENS[place.type] * sum(d_in * d_out for d_in, d_out in products) / seconds


def _product_seconds(d_in: int, d_out: int, dtype: torch.dtype, place: torch.device) -> float:
    """Seconds of one product; a product that is too slow to be timed whole is estimated from some of its columns.

    Half precision on a CPU, or a matrix of the largest models, would take minutes.
    """
    tokens = torch.randn(TOKENS[place.type], d_in, dtype=dtype, device=place)

    def seconds(columns: int, budget: float) -> float:
        weights = torch.randn(columns, d_in, dtype=dtype, device=place)
        return _seconds(lambda: torch.nn.functional.linear(tokens, weights), place, budget)

    columns = min(d_out, 8)
    while columns < d_out and seconds(columns, budget=0) < 0.2:
        columns = min(2 * columns, d_out)
    return seconds(columns, budget=0.4) * d_out / columns


def _bandwidth(place: torch.device, numbers: int = 1 << 25) -> float:
    """Bytes a second read and written by a copy too large for a cache."""
    source = torch.zeros(numbers, device=place)
    target = torch.empty_like(source)
    return 2.0 * source.numel() * source.itemsize / _seconds(lambda: target.copy_(source), place, budget=0.4)


def _seconds(work: Any, place: torch.device, budget: float) -> float:
    """The median time of a call, the first ones left out."""
    times: list[float] = []
    beginning = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - beginning < budget:
        start = time.perf_counter()
        work()
        if place.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])
    return max(times[len(times) // 2], 1e-9)
