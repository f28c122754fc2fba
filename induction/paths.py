"""Paths between heads: the earlier heads that a head's keys, queries or values are made of."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.induction.formulas.prefix_matching import PatternEntries, has_bos, pattern_entries
from headcount.induction.passes.paths import PathTarget, mean_outputs, path_scores, stream_is_a_sum
from headcount.induction.profile import check_head
from headcount.induction.tokens.sampling import model_token_pool, repeated_tokens
from headcount.results import HeadScores, InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress, provenance

Side = Literal["key", "query", "value"]
Path = Literal["direct", "total"]

FOLDS = 10
PERIOD = 25
"""Length of what is repeated: the shortest of those that heads are scored on."""


def feeding_heads(
    model: Model,
    head: tuple[int, int],
    on: str = "key",
    path: str = "direct",
    *,
    definition: str = "successor",
    n_sequences: int = 8,
    period: int = PERIOD,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score all earlier heads by how much of a head's score goes when their outputs are replaced by their means.

    The score of A is s(B) - s(B with A replaced): A's z, at all positions, becomes its mean over the positions of all
    sequences, and B sees this in one of its inputs only. The other two inputs stay as they are.

    * `direct`: what A adds to the residual stream goes straight to B; the layers between add what they add in the whole
      model.
    * `total`: all layers between are computed again.

    With `key` and `query` the score s is prefix matching, and the result a fall in attention, 1 at most. No pattern
    depends on values: with `value`, s is the logit that B writes for the token that followed the current one before,
    less the mean over the tokens so far: z W_O W_U without final norm, as in `copying`, in logits. In models with
    grouped queries, a key or a value is that of all heads of B's group: what feeds it feeds them alike.

    Args:
        model: The model; parts that are removed at present (`masked`) stay removed.
        head: B as (layer, head), an induction head, say.
        on: The input of B: `key`, `query` or `value`.
        path: `direct` or `total`. The first takes about one block's projections for each earlier head and sequence, the
            second all blocks from A's to B's.
        definition: The definition of prefix matching; not for `value`.
        n_sequences: The number of sequences, of random tokens repeated 4 times.
        period: Length L of what is repeated.
        seed: As in `repeated_tokens`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called after each batch with the number of sequences in it.

    Returns:
        Mean falls with variance over sequences and folds; NaN for heads that are not before B. A score below 0 is a
        rise. `provenance["score"]` is s(B) in the whole model.

    Raises:
        InputError: There is no such head, or no head before it; an argument is unknown; B's heads are gated (`value`);
            or norms or factors are in the residual stream itself (`direct`), so that no contribution stays as it is.

    Source: path patching (Wang et al. 2022; Goldowsky-Dill et al. 2023), with means in place of another prompt.
    """
    target = _target(model, head, on, path)
    rows = repeated_tokens(model, period, n_sequences, seed)
    if target.direct and model.derived and not stream_is_a_sum(model, rows[:1, :8], target.layer):
        raise InputError(
            f"blocks of {model.name} change the residual stream other than by adding to it, so that what a head adds "
            "does not reach later heads unchanged: choose path='total'"
        )
    bos = has_bos(rows.shape[1], period)
    entries = _following(period, bos) if on == "value" else pattern_entries(period, bos, definition)
    layers = [layer for layer in model.layers_with_heads if layer < target.layer]
    means = mean_outputs(model, rows, layers, batch_size)
    scores = path_scores(model, rows, target, entries, means, batch_size, progress)
    whole = scores[:, layers[0], 0]
    sizes = model.sizes
    group = sizes.n_heads // sizes.n_kv_heads
    first = target.head // group * group
    settings = {
        "head": [target.layer, target.head],
        "on": on,
        "path": path,
        "score": float(whole.mean()),
        "score_is": "logit of the token that followed" if on == "value" else f"prefix matching, {definition}",
        "heads_of_group": list(range(first, first + group)) if on != "query" else [target.head],
        "ablation": "mean",
        "reference": "all positions of the same sequences",
        "n_sequences": n_sequences,
        "period": period,
        "seed": seed,
        "n_tokens": rows.shape[1],
        "token_source": model_token_pool(model).source,
        "bos": model.bos,
        "bos_in_front": bos,
    }
    return _head_scores(model, whole[:, None, None] - scores[:, :, 1:], f"{on}, {path}", settings)


def _target(model: Model, head: Any, on: str, path: str) -> PathTarget:
    """Return the head whose input is changed, checked against the model."""
    checks.check_one_of("on", on, get_args(Side))
    checks.check_one_of("path", path, get_args(Path))
    if not isinstance(head, tuple | list) or len(head) != 2:
        raise InputError(f"head: expected (layer, head), such as (18, 6), got {head!r}")
    layer, place = head
    check_head(model, layer, place)
    if layer <= model.layers_with_heads[0]:
        raise InputError(f"L{layer}H{place} of {model.name} is in the first layer with heads: no head is before it")
    if on == "value" and model.paths(layer).gated:
        raise InputError(
            f"a gate that depends on the text multiplies what the heads of {model.name} give: what a head's values "
            "write is not fixed; choose on='key' or 'query'"
        )
    if path == "direct" and model.variant.post_norm:
        raise InputError(
            f"{model.name} has norms after its sums, so that what a head adds does not reach later heads unchanged: "
            "choose path='total'"
        )
    return PathTarget(layer, place, on, path == "direct")


def _following(period: int, bos: bool) -> PatternEntries:
    """Return the place of each query, and of the token that followed its latest earlier occurrence."""
    return pattern_entries(period, bos, "offset")


def _head_scores(
    model: Model, falls: Float[Tensor, "sequence layer head"], definition: str, settings: dict[str, Any]
) -> HeadScores:
    n = len(falls)
    return HeadScores(
        falls.mean(0),
        variance=falls.var(0) if n > 1 else None,
        n=n,
        folds=torch.stack([falls[fold::FOLDS].mean(0) for fold in range(min(FOLDS, n))]),
        measure="feeding_heads",
        definition=definition,
        provenance=provenance(model, **settings),
    )
