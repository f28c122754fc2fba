"""Causal head gating: one gate on each head, learned where open gates are free, where they pay and where they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headcount.importance.ablation.reference import reference_means
from headcount.importance.attribution.gate_passes import RATE, fit_gates
from headcount.importance.documents import Example
from headcount.importance.evaluation import bos_record, encode_examples
from headcount.importance.likelihoods.encoding import EncodedRequest, Encoding
from headcount.importance.measure import LOSS_SCALE
from headcount.results import CausalGates, HeadScores, InputError
from headcount.results.internal import checks
from headcount.stats import compare
from headcount.tracing import Model, Progress, provenance

Ablation = Literal["mean", "zero"]
START = 2.0
"""The logit of every gate at the beginning: 0.88 open. Nearer to 1 they take longer to close."""
LOSSES = 10
"""Steps over which the loss at the beginning and at the end is averaged."""


class Roles(NamedTuple):
    """The gates of one seed.

    Attributes:
        free: Gates learned where they cost nothing.
        paid: G+, gates learned where open ones are paid for.
        costly: G-, gates learned where open ones cost.
        losses: The loss in the first and in the last steps of the first stage, in nats per token.
    """

    free: Float[Tensor, "layer head"]
    paid: Float[Tensor, "layer head"]
    costly: Float[Tensor, "layer head"]
    losses: tuple[float, float]

    def maps(self) -> Float[Tensor, "role layer head"]:
        """Return the three maps of `CausalGates`, in their order."""
        return torch.stack([self.costly, self.paid * (1 - self.costly), 1 - self.paid])


def causal_gates(
    model: Model,
    examples: Sequence[Example],
    seeds: Sequence[int] = (0, 1),
    steps: int = 100,
    strength: float = 0.003,
    ablation: str = "mean",
    *,
    batch_size: int = 8,
    encoding: Encoding = "joint",
    progress: Progress | None = None,
) -> CausalGates:
    """Learn one gate on each head, and the roles that follow: facilitating, irrelevant, interfering.

    A gate g in [0, 1] puts r + g (z - r) in the place of a head's z, r its mean over the examples or zero. Gates are
    sigmoids of logits, which Adam moves to lower the loss on the gold continuations: the mean over tokens, then over
    the examples of a step. Three stages: from open gates at no price; from there, with `strength` nats paid for each
    open gate (G+), and with as much charged for it (G-). See `CausalGates` for the roles.

    Gates are learned on the examples, so that they also improve the task: they tune the model as well as measure it.
    Judge them on other documents, and beside gates learned on another task. `prune(model, task, gates.facilitating)`
    removes heads by them; with zero ablation there, learn them with zero ablation.

    Args:
        model: The model; parts that are removed at present stay removed.
        examples: Contexts with their gold continuations, as from `task.examples`.
        seeds: Seeds of the order of the examples; each gives all three stages again.
        steps: Steps of Adam in each stage.
        strength: The price of one open gate, in nats.
        ablation: The output of a head whose gate is closed: its `mean` over all positions of the examples, or `zero`.
        batch_size: Examples in each step. It changes the gates, unlike elsewhere.
        encoding: The way in which text becomes tokens; `task.encoding` for a task's examples.
        progress: Called with the number of steps done since the last call; there are 3 · steps · seeds.

    Returns:
        Three maps, each the mean over seeds with variance over seeds, and each seed's values in `extras` (`seed_0`).
        `agreement` is Spearman's rho between seeds, `undecided` lists the heads of no certain role.

    Raises:
        InputError: An argument is unknown or out of range, there is no example, or with several seeds no more than one
            step takes; a continuation has no tokens; or the model is streamed.

    Source: Nam et al. 2025, "Causal Head Gating" (arXiv 2505.13737).
    """
    _check_arguments(model, examples, seeds, steps, strength, ablation, batch_size)
    checks.check_one_of("encoding", encoding, get_args(Encoding))
    requests = encode_examples(model, examples, encoding)
    means = reference_means(model, requests).heads if ablation == "mean" else None
    by_seed = [_roles(model, requests, means, seed, steps, strength, batch_size, progress) for seed in seeds]
    maps = torch.stack([roles.maps() for roles in by_seed])
    settings = {
        "ablation": ablation,
        "reference": "all positions of the same examples" if ablation == "mean" else None,
        "seeds": list(seeds),
        "steps": steps,
        "strength": strength,
        "batch_size": batch_size,
        "rate": RATE,
        "start": START,
        "encoding": encoding,
        "n_examples": len(examples),
        "losses": [[round(loss, 6) for loss in roles.losses] for roles in by_seed],
        "agreement": dict(
            zip(("facilitating", "irrelevant", "interfering"), map(_agreement, maps.unbind(1)), strict=True)
        ),
        "undecided": undecided(maps).nonzero().tolist(),
        "cut": sum(request.cut > 0 for request in requests),
        "merged": sum(request.merged for request in requests),
        **bos_record(model, requests),
    }
    record = provenance(model, **settings)
    return CausalGates(
        *(
            _head_scores(values, role, ablation, seeds, record)
            for role, values in zip(("facilitating", "irrelevant", "interfering"), maps.unbind(1), strict=True)
        )
    )


def _check_arguments(
    model: Model,
    examples: Sequence[Example],
    seeds: Sequence[int],
    steps: int,
    strength: float,
    ablation: str,
    batch_size: int,
) -> None:
    checks.check_one_of("ablation", ablation, get_args(Ablation))
    checks.check_count("steps", steps)
    checks.check_count("batch_size", batch_size)
    if not examples:
        raise InputError("gates need at least one example to be learned on")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds: expected one or more, each once, got {list(seeds)}")
    for seed in seeds:
        checks.check_seed(seed)
    if not 0 < strength < math.inf:
        raise InputError(f"strength: expected a price above 0 nats, got {strength!r}: the default is 0.003")
    if model.stream is not None:
        raise InputError(
            f"{model.name} is streamed, and every step of the gates would read all weights twice, {6 * steps} times "
            "for a seed: load the model into memory, or take head_importance, which reads them twice in all"
        )
    if len(seeds) > 1 and len(examples) <= batch_size:
        raise InputError(
            f"seeds differ in the order of the examples alone, and a step takes {batch_size}: expected more examples "
            f"than that, got {len(examples)}; or pass one seed, or a smaller batch_size"
        )


def _roles(
    model: Model,
    requests: Sequence[EncodedRequest],
    means: Float[Tensor, "layer head d_head"] | None,
    seed: int,
    steps: int,
    strength: float,
    batch_size: int,
    progress: Progress | None,
) -> Roles:
    """Return the gates of one seed, from three stages."""
    generator = torch.Generator().manual_seed(seed)
    scale = LOSS_SCALE.get(model.dtype, 1.0)
    start = torch.full((model.sizes.n_layers, model.sizes.n_heads), START)
    batches = [draw_batches(requests, steps, batch_size, generator) for _ in range(3)]
    free = fit_gates(model, batches[0], start, means, 0.0, scale, progress)
    paid = fit_gates(model, batches[1], free.logits, means, -strength, scale, progress)
    costly = fit_gates(model, batches[2], free.logits, means, strength, scale, progress)
    first, last = (sum(part) / len(part) for part in (free.losses[:LOSSES], free.losses[-LOSSES:]))
    return Roles(free.logits.sigmoid(), paid.logits.sigmoid(), costly.logits.sigmoid(), (first, last))


def draw_batches(
    requests: Sequence[EncodedRequest], steps: int, batch_size: int, generator: torch.Generator
) -> list[list[EncodedRequest]]:
    """Return the examples of each step: all of them in random order, then again in another."""
    batches: list[list[EncodedRequest]] = []
    while len(batches) < steps:
        order = torch.randperm(len(requests), generator=generator).tolist()
        full = max(batch_size, len(order) - len(order) % batch_size)  # the rest of an order is left out, if it has one
        batches += [
            [requests[place] for place in order[at : at + batch_size]]
            for at in range(0, min(full, len(order)), batch_size)
        ]
    return batches[:steps]


def undecided(maps: Float[Tensor, "seed role layer head"]) -> Bool[Tensor, "layer head"]:
    """Return True for heads of no certain role: seeds differ in the highest of the three, or it is below 0.5."""
    highest = maps.max(1)
    differ = (highest.indices != highest.indices[:1]).any(0)
    return (differ | (highest.values < 0.5).any(0)) & ~maps.isnan().any(0).any(0)


def _agreement(values: Float[Tensor, "seed layer head"]) -> float | None:
    """Return Spearman's rho between seeds, the mean over pairs; None for one seed, or where gates are equal."""
    seeds = [HeadScores(of_seed, measure="causal_gates") for of_seed in values]
    if len(seeds) < 2 or int(values[0].isfinite().sum()) < compare.FEWEST:
        return None
    rho = [compare.spearman(a, b, resamples=0).rho for a, b in combinations(seeds, 2)]
    mean = sum(rho) / len(rho)
    return None if math.isnan(mean) else mean


def _head_scores(
    values: Float[Tensor, "seed layer head"], role: str, ablation: str, seeds: Sequence[int], record: dict[str, object]
) -> HeadScores:
    return HeadScores(
        values.mean(0),
        variance=values.var(0) if len(values) > 1 else None,
        n=len(values),
        measure="causal_gates",
        definition=f"{role}, {ablation}",
        extras={f"seed_{seed}": of_seed for seed, of_seed in zip(seeds, values, strict=True)},
        provenance=record,
    )
