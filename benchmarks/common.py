"""What the benchmarks share: models of a given shape, and timing that survives a noisy machine."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from headcount.tracing import Model, load_model
from headcount.tracing.loading.describe import published_configuration


def published_shape(
    name: str = "facebook/opt-125m", device: str = "cpu", dtype: torch.dtype = torch.float32, tokenizer: Any = None
) -> Model:
    """A model of a published shape with random weights, made where it is to be; timing needs no trained ones."""
    torch.manual_seed(0)
    with torch.device(device):
        hf = transformers.AutoModelForCausalLM.from_config(published_configuration(name), dtype=dtype)
    return load_model(hf.requires_grad_(False), tokenizer=tokenizer)


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
    """How long one call takes, on a GPU until it is done."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else int
    finish()
    start = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - start


def say(what: str, found: list[float]) -> None:
    """Print the median of ratios with the quartiles."""
    low, middle, high = statistics.quantiles(found, n=4)
    print(f"{what}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(found)} pairs)")
