"""Replacements of heads' outputs and of feed-forward networks' outputs, from reference examples.

* Means: of z, or of a network's output, over positions and reference examples. They know no position.
* Rows of the same length whose values take the places of a run's, position by position: another reference example
  (`resampled`), or the prompt with its shots' answers shuffled (`counterfactual`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headcount.importance.documents import Example
from headcount.importance.evaluation import encode_examples
from headcount.importance.likelihoods.encoding import EncodedRequest, Encoding
from headcount.remote_code import runs_remotely
from headcount.results import InputError
from headcount.tracing import BatchSize, Hook, Model, Progress, Recorder
from headcount.tracing.internal import Prepared, Row, pad, run_batches

Position = Literal["all", "last"]
"""The positions of a mean: all that are read, or the last one of each context, which predicts the continuation."""


class Means(NamedTuple):
    """Mean outputs of every head and feed-forward network.

    Attributes:
        heads: The mean of z. NaN in layers without heads; where the widths of values differ, the narrower ones are
            filled with NaN at the end.
        ffns: The mean of what the network adds to the residual stream. NaN in layers without one.
    """

    heads: Float[Tensor, "layer head d_head"]
    ffns: Float[Tensor, "layer d_model"]


def head_means(
    model: Model,
    reference: Sequence[Example],
    *,
    position: Position = "all",
    encoding: Encoding = "joint",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Float[Tensor, "layer head d_head"]:
    """Return the mean of every head's output before W_O over positions and reference examples; see `Means`.

    Args:
        model: The model; parts that are removed at present stay removed.
        reference: The examples: contexts with their continuations, whose last token is not read.
        position: `all`: all positions that are read, pooled over the examples. `last`: the last token of each context.
        encoding: The way in which text becomes tokens; `task.encoding` for a task's examples.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.

    Raises:
        InputError: There is no example, or a continuation has no tokens.
    """
    requests = encode_examples(model, reference, encoding)
    return reference_means(model, requests, position, batch_size, progress).heads


def ffn_means(
    model: Model,
    reference: Sequence[Example],
    *,
    position: Position = "all",
    encoding: Encoding = "joint",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Float[Tensor, "layer d_model"]:
    """Return the mean of what every feed-forward network adds to the residual stream; arguments as of `head_means`.

    Raises:
        InputError: As `head_means`.
    """
    requests = encode_examples(model, reference, encoding)
    return reference_means(model, requests, position, batch_size, progress).ffns


def reference_means(
    model: Model,
    requests: Sequence[EncodedRequest],
    position: Position = "all",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Means:
    """Return the means of heads and of feed-forward networks, from one forward pass over examples that are tokens.

    Sums are taken where the model is, in float64: one sum a layer comes back from each batch.

    Raises:
        InputError: There is no example, or the position is unknown.
    """
    if not requests:
        raise InputError("means need at least one reference example")
    if position not in ("all", "last"):
        raise InputError(f"position must be all or last, not {position!r}")
    names = [f"blocks.{layer}.attn.hook_z" for layer in model.layers_with_heads]
    names += [name for layer in range(model.sizes.n_layers) if (name := f"blocks.{layer}.hook_mlp_out") in model.hooks]
    sums: dict[str, Tensor] = {}

    def prepare(batch: list[int]) -> Prepared[None]:
        rows = [torch.tensor(requests[index].ids[:-1]) for index in batch]
        mask = _positions([requests[index] for index in batch], position)
        recorders = {name: SumOver(mask) for name in names}
        forward = model.pass_until_last(pad(rows, model.device), list(recorders.items()))

        def add(_: list[Any]) -> list[None]:
            for name, recorder in recorders.items():
                (total,) = recorder.records
                sums[name] = sums.get(name, 0) + total.cpu()
            return [None] * len(batch)

        return [forward], add

    run_batches(model, prepare, [len(request.ids) - 1 for request in requests], batch_size, progress)
    count = sum(len(request.ids) - 1 if position == "all" else 1 for request in requests)
    means = {name: (total / count).float() for name, total in sums.items()}
    layers = range(model.sizes.n_layers)
    return Means(
        _stacked([means.get(f"blocks.{layer}.attn.hook_z") for layer in layers]),
        _stacked([means.get(f"blocks.{layer}.hook_mlp_out") for layer in layers]),
    )


def _positions(requests: Sequence[EncodedRequest], position: Position) -> Bool[Tensor, "batch pos"]:
    """Return True at the positions that a mean is over."""
    longest = max(len(request.ids) - 1 for request in requests)
    places = torch.arange(longest)
    if position == "last":
        return torch.stack([places == request.start - 1 for request in requests])
    return torch.stack([places < len(request.ids) - 1 for request in requests])


def _stacked(by_layer: Sequence[Tensor | None]) -> Tensor:
    """Return the values of all layers; NaN where there are none, or where other layers' values are wider."""
    known = [values for values in by_layer if values is not None]
    shape = (len(by_layer), *known[0].shape[:-1], max(values.shape[-1] for values in known))
    stacked = torch.full(shape, float("nan"))
    for layer, values in enumerate(by_layer):
        if values is not None:
            stacked[layer, ..., : values.shape[-1]] = values
    return stacked


@runs_remotely
class SumOver(Recorder):
    """Records the sum of a value over some positions of a batch, in float64.

    Args:
        mask: True at the positions, [batch, pos].
    """

    def __init__(self, mask: Bool[Tensor, "batch pos"]) -> None:
        super().__init__()
        self.mask = mask

    def __call__(self, value: Tensor, hook: Hook) -> None:
        """Record the sum: [head, d_head] of z, [d_model] of a network's output."""
        self.records.append(value.detach()[self.mask.to(value.device)].sum(0, dtype=torch.float64))


def resampled(rows: Sequence[Row], reference: Sequence[Row], seed: int = 0) -> list[Row]:
    """Return for each row another one of the same length, drawn from reference rows.

    Where no other reference row has its length, rows are drawn and joined until they are as long, and cut from the left
    to it, as contexts are that do not fit; a first token that they share with the row (BOS) is in front, once. A row's
    draw depends on the seed, the row and the set of reference rows, and on nothing else.

    Args:
        rows: The rows.
        reference: The rows to draw from.
        seed: Seed of the draws.

    Raises:
        InputError: There is no other reference row.
    """
    distinct = sorted(set(reference))
    by_length: dict[int, list[Row]] = {}
    for candidate in distinct:
        by_length.setdefault(len(candidate), []).append(candidate)
    return [_drawn(row, by_length.get(len(row), []), distinct, seed) for row in rows]


def _drawn(row: Row, same_length: Sequence[Row], distinct: Sequence[Row], seed: int) -> Row:
    if same := [candidate for candidate in same_length if candidate != row]:
        return same[_number(f"{seed} {row}") % len(same)]
    others = [candidate for candidate in distinct if candidate != row and len(candidate) > 1]
    if not others:
        raise InputError("resampling needs another reference example than the prompt itself: pass more examples")
    joined: Row = ()
    front = row[:1] if all(candidate[0] == row[0] for candidate in others) else ()
    while len(front) + len(joined) < len(row):
        drawn = others[_number(f"{seed} {row} {len(joined)}") % len(others)]
        joined = drawn[len(front) :] + joined
    return front + joined[len(joined) - len(row) + len(front) :]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def counterfactual_requests(
    model: Model, examples: Sequence[Example], encoding: Encoding = "joint"
) -> list[EncodedRequest]:
    """Return examples as tokens with their shots' answers shuffled; each as long as the example itself.

    Raises:
        InputError: An example has no counterfactual, or its counterfactual has another number of tokens.
    """
    if without := [example for example in examples if example.counterfactual is None]:
        raise InputError(
            f"{len(without)} of {len(examples)} examples have no counterfactual, first {without[0].context[-60:]!r}: "
            "patching needs prompts of two shots or more with different answers, as task.examples(shots=5) makes, or "
            "Example(..., counterfactual=)"
        )
    shuffled = [Example(str(example.counterfactual), example.continuation) for example in examples]
    requests = encode_examples(model, shuffled, encoding)
    for example, request, before in zip(examples, requests, encode_examples(model, examples, encoding), strict=True):
        if (len(request.ids), request.start) != (len(before.ids), before.start):
            raise InputError(
                f"a counterfactual has {len(request.ids)} tokens and its prompt {len(before.ids)}: patching needs "
                f"prompts of the same length, unlike {example.context[-60:]!r}"
            )
    return requests
