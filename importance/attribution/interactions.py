"""Interactions of heads: the drop without two heads, less the drops without each."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from headcount.importance.ablation.ablated import Reference
from headcount.importance.attribution.ablation_path import AblationPath
from headcount.importance.attribution.estimates import drops_without
from headcount.importance.attribution.settings import Attribution
from headcount.importance.documents import Example
from headcount.importance.evaluation import bos_record, encode_examples
from headcount.importance.likelihoods.encoding import Encoding
from headcount.results import InputError, Table
from headcount.results.internal import is_whole
from headcount.tracing import BatchSize, Model, Progress, provenance
from headcount.tracing.internal import AblationKind

Head = tuple[int, int]


def interaction(
    model: Model,
    examples: Sequence[Example],
    pairs: Iterable[Sequence[Any]],
    kind: AblationKind = "zero",
    *,
    reference: Reference = None,
    seed: int = 0,
    encoding: Encoding = "joint",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Table:
    """Measure how much more two heads are needed together than one by one.

    Δ(a, b) - Δ(a) - Δ(b), with Δ the mean drop of the gold log-probability, in nats, when heads are ablated. Above 0
    where either head can stand in for the other; below 0 where both serve one purpose that is lost with the first;
    0 where they do not depend on each other.

    Args:
        model: The model; removed parts stay removed.
        examples: As for `head_importance`.
        pairs: Pairs of heads, such as [((18, 6), (16, 0)), ...], or of entries of `scores.top(5)`.
        kind: The kind of ablation, as `baseline` of `head_importance`.
        reference: As for `head_importance`.
        seed: Seed of `resample`.
        encoding: As for `head_importance`.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.

    Returns:
        A row for each pair: the heads `a` and `b`, `drop_ab`, `drop_a`, `drop_b`, the `interaction`, its standard error
        `stderr`, paired over examples (None for one example), and `n`, the number of examples.

    Raises:
        InputError: As `head_importance`; or a pair is not one of two different heads of the model.
    """
    settings = Attribution("oracle", kind=kind, seed=seed)
    chosen = [_pair(model, pair) for pair in pairs]
    if not examples or not chosen:
        raise InputError("interactions need at least one example and one pair of heads")
    requests = encode_examples(model, examples, encoding)
    replacement = settings.replacement(model, examples, reference, encoding, batch_size)
    path = AblationPath(replacement=replacement)
    heads = sorted({head for pair in chosen for head in pair})
    drops = drops_without(model, requests, path, [*([head] for head in heads), *chosen], batch_size, progress)
    single = dict(zip(heads, drops.unbind(1), strict=False))
    rows: list[dict[str, str | int | float | bool | None]] = []
    for (a, b), both in zip(chosen, drops[:, len(heads) :].unbind(1), strict=True):
        more = both - single[a] - single[b]
        rows.append(
            {
                "a": f"L{a[0]}H{a[1]}",
                "b": f"L{b[0]}H{b[1]}",
                "drop_ab": float(both.mean()),
                "drop_a": float(single[a].mean()),
                "drop_b": float(single[b].mean()),
                "interaction": float(more.mean()),
                "stderr": float(more.std()) / math.sqrt(len(more)) if len(more) > 1 else None,
                "n": len(more),
            }
        )
    record = {**settings.provenance(replacement), "encoding": encoding, "n_examples": len(examples)}
    record |= bos_record(model, requests)
    definition = "Drop of the gold log-probability without two heads, less the drops without each, in nats"
    return Table.of(rows, definition, **provenance(model, **record))


def _pair(model: Model, pair: Sequence[Any]) -> tuple[Head, Head]:
    """Return a pair of different heads of a model; a score behind a head's position is left out."""
    heads = [tuple(head[:2]) for head in pair] if all(isinstance(head, Sequence) for head in pair) else []
    sizes = model.sizes
    inside = [
        len(head) == 2
        and all(map(is_whole, head))
        and head[0] in model.layers_with_heads
        and head[1] in range(sizes.n_heads)
        for head in heads
    ]
    if len(heads) != 2 or not all(inside) or heads[0] == heads[1]:
        raise InputError(
            f"expected a pair of two different heads among {sizes.n_layers} layers of {sizes.n_heads}, such as "
            f"((0, 1), (1, 0)), not {pair!r:.200}"
        )
    (a, b) = ((int(layer), int(head)) for layer, head in heads)
    return a, b
