"""Models of a given shape, and timing on a noisy machine, for all benchmarks."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from headcount.tracing import Model, load_model
from headcount.tracing.architectures.published_sizes import published_configuration


def published_shape(
    name: str = "facebook/opt-125m", device: str = "cpu", dtype: torch.dtype = torch.float32, tokenizer: Any = None
) -> Model:
    """Return a model of a published shape with random weights, built on its device; timing needs no trained ones."""
    torch.manual_seed(0)
    with torch.device(device):
        hf = transformers.AutoModelForCausalLM.from_config(published_configuration(name), dtype=dtype)
    return load_model(hf.requires_grad_(False), tokenizer=tokenizer)


def ratios(work: Callable[[], Any], peer: Callable[[], Any], pairs: int) -> list[float]:
    """Return the time of the work over the peer's, pair by pair, in turn, so that noise reaches both alike."""
    work()
    peer()
    ratios = []
    for pair in range(pairs):
        first, second = (work, peer) if pair % 2 else (peer, work)
        times = seconds(first), seconds(second)
        ratios.append(times[0] / times[1] if pair % 2 else times[1] / times[0])
    return ratios


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds that a call takes; on a GPU, until it is done."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else int
    finish()
    start = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - start


def report(title: str, ratios: list[float]) -> None:
    """Print the median of ratios with the quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{title}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(ratios)} pairs)")
