"""What a study would cost on this machine: every unit, whether it is there, and about how long it takes."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from headcount.units import Unit
from results import Run
from tracing import Model

TOKENS = 128
"""Length of the passes that are timed."""


class Cost(NamedTuple):
    """A unit of work and its price.

    Attributes:
        title: What is measured.
        names: The results it leaves.
        done: Whether the run has them already.
        tokens: How many tokens pass through the model, passes that cost twice as much counted twice.
        seconds: About how long that takes here; 0 where it is done.
    """

    title: str
    names: tuple[str, ...]
    done: bool
    tokens: int
    seconds: float


def costs(units: Sequence[Unit], run: Run, model: Model) -> list[Cost]:
    """The price of every unit, from the tokens that it runs and a short timing of the model."""
    per_token = seconds_per_token(model)
    found = []
    for unit in units:
        done, tokens = unit.done(run, unit.inputs(run)), unit.tokens()
        found.append(Cost(unit.title, unit.names, done, tokens, 0.0 if done else tokens * per_token))
    return found


def seconds_per_token(model: Model, passes: int = 3) -> float:
    """How long a forward pass takes for each token, at best of a few."""
    tokens = torch.randint(0, model.sizes.vocab, (4, min(TOKENS, model.sizes.context)))
    last = torch.full((4,), tokens.shape[1] - 1)
    times = []
    for _ in range(passes + 1):
        start = time.perf_counter()
        with torch.no_grad():
            model.logits_at(tokens, torch.arange(4), last).sum().item()
        times.append(time.perf_counter() - start)
    return min(times[1:]) / tokens.numel()
