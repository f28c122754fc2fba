"""What the benchmarks share: models of a given shape, and timing that survives a noisy machine."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from tracing import Model, load_model


def opt_125m_shape(context: int = 2048) -> Model:
    """A model of OPT-125m's shape with random weights; timing needs no trained ones."""
    config = transformers.OPTConfig(max_position_embeddings=context)
    torch.manual_seed(0)
    return load_model(transformers.OPTForCausalLM(config).requires_grad_(False))


def ratios(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int) -> list[float]:
    """The time of ours over theirs, pair by pair, in turn: the machine's mood falls on both alike."""
    ours()
    theirs()
    found = []
    for pair in range(pairs):
        first, second = (ours, theirs) if pair % 2 else (theirs, ours)
        times = seconds(first), seconds(second)
        found.append(times[0] / times[1] if pair % 2 else times[1] / times[0])
    return found


def seconds(work: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(what: str, found: list[float]) -> None:
    """Print the median of ratios with the quartiles."""
    low, middle, high = statistics.quantiles(found, n=4)
    print(f"{what}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(found)} pairs)")
