"""Induction scores of every head of a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headcount.induction.formulas.copying import check_definition
from headcount.induction.formulas.loss_by_repeat import repeat_statistics
from headcount.induction.formulas.prefix_matching import REPEATS, has_bos
from headcount.induction.passes.copying import copying_pass, eigenvalue_copying
from headcount.induction.passes.loss import repeat_loss_pass
from headcount.induction.passes.patterns import patterns_pass
from headcount.induction.passes.prefix_matching import prefix_matching_pass
from headcount.induction.tokens.sampling import (
    distinct_row,
    model_token_pool,
    repeated_row,
    repeated_tokens,
    spread_sequences,
)
from headcount.results import HeadScores, InductionScores, InputError, Patterns, RepeatLoss
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress, provenance

LENGTH_GROUPS = 10
"""Groups of sequences of similar length whose scores are kept apart."""

LOSS_PERIOD = 50
"""Length of what is repeated where the loss is taken by repeat."""


def prefix_matching(
    model: Model,
    tokens: Int[Tensor, "batch pos"],
    period: int,
    definition: str = "successor",
    *,
    batch_size: BatchSize = "auto",
) -> HeadScores:
    """Score every head by prefix matching: attention to what followed the current token before.

    The default, `successor`, is the mean over queries of the summed attention to the successors of all earlier
    occurrences; see `headcount.induction.formulas.prefix_matching.pattern_entries` for the others. Only these entries
    of the patterns are computed.

    Args:
        model: The model.
        tokens: Repeated tokens: 4·L + 1 of them with BOS, or 4·L.
        period: Length L of what is repeated.
        definition: `successor`, `published`, `entry-mean` or `offset`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.

    Returns:
        Mean and unbiased variance over sequences, 0 to 1.

    Raises:
        InputError: There are not 4·L + 1 or 4·L tokens, they do not fit the model, or an argument is unknown.

    Source: Bansal et al. 2023, Algorithm 1; Olsson et al. 2022.
    """
    ids = model.check_tokens(tokens)
    bos = has_bos(ids.shape[1], period)
    if bos and (model.bos is None or bool((ids[:, 0] != model.bos).any())):
        expected = "no token, since the model has no BOS," if model.bos is None else f"the BOS token, {model.bos},"
        raise InputError(
            f"{REPEATS} · {period} + 1 tokens: expected {expected} in front of each row, got "
            f"{ids[:, 0].tolist()!r:.60}: pass {REPEATS} · {period} tokens, or BOS and these"
        )
    body = ids[:, bos:]
    if not torch.equal(body, body[:, :period].repeat(1, REPEATS)):
        warnings.warn(
            f"tokens do not repeat with period {period}: the scores are a control, not induction", stacklevel=2
        )
    rows = list(ids)
    scores = prefix_matching_pass(model, rows, [period] * len(rows), definition, batch_size)
    settings = {"period": period, "n_tokens": len(rows[0]), **_bos_record(model, ids), "batch_size": batch_size}
    return _head_scores(model, scores, "prefix_matching", definition, settings)


def copying(
    model: Model,
    tokens: Int[Tensor, "batch pos"],
    definition: str = "head-output",
    *,
    batch_size: BatchSize = "auto",
) -> HeadScores:
    """Score every head by copying: the rise of the logit of the token that it attends to most.

    Each head works alone, on the embeddings: layer l reads LN_l(embedding + position), whatever its depth. See
    `headcount.induction.formulas.copying.copying_score` for `head-output` (the default), `published` (each token's own
    value in place of the head's output, as in the published code) and `olsson`, and
    `headcount.induction.formulas.copying.eigenvalue_score` for `eigenvalue`, which depends on the weights alone.
    Removed parts (`masked`) play no role.

    Args:
        model: The model.
        tokens: BOS and distinct tokens, as from `distinct_tokens`.
        definition: `head-output`, `published`, `olsson` or `eigenvalue`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.

    Returns:
        Mean and unbiased variance over sequences; `extras` holds the share of positions at which the most attended
        token is the token itself (`self_attention`) and BOS (`bos_attention`).

    Raises:
        InputError: The tokens do not fit the model, or the definition is unknown.

    Source: Bansal et al. 2023, Algorithm 2; Olsson et al. 2022 (`olsson`); Elhage et al. 2021 (`eigenvalue`).
    """
    check_definition(definition)
    ids = model.check_tokens(tokens)
    rows = list(ids)
    if len(rows[0]) < 2:
        raise InputError("copying needs 2 tokens or more in a sequence")
    settings = {"n_tokens": len(rows[0]), **_bos_record(model, ids), "batch_size": batch_size}
    if definition == "eigenvalue" and model.server is not None:
        raise InputError(
            f"eigenvalue copying reads the weights, which {model.name} has on a server: choose another definition"
        )
    if definition == "eigenvalue":
        values = eigenvalue_copying(model)
        return HeadScores(
            values, n=1, measure="copying", definition=definition, provenance=provenance(model, definition=definition)
        )
    scores = copying_pass(model, rows, [definition], batch_size)
    return _copying_scores(model, scores, definition, settings)


def score_heads(
    model: Model,
    n_sequences: int = 100,
    seed: int = 0,
    *,
    prefix_definition: str = "successor",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> InductionScores:
    """Score every head by prefix matching and copying on the paper's sequences.

    Prefix matching sees 4 repeats of L random tokens, copying 4·L distinct ones. Scores depend on L: it is spread over
    25 to 223, the paper's range, however many sequences there are, or over what fits the context and the tokens to draw
    from. A hundred sequences are the paper's, L = 25 + 2·s for s = 0 to 99; those of them that do not fit are left out,
    with a warning, and recorded. The variance is over sequences, so that the standard error covers other random tokens
    and other lengths of this range, not longer ones; `by_length` has the scores of short and long sequences apart.

    Args:
        model: The model.
        n_sequences: The number of sequences; the paper takes 100, of 101 to 893 tokens.
        seed: Sequence s of a seed is always the same, whatever else runs.
        prefix_definition: See `prefix_matching`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of sequences done since the last call; there are 2 · n_sequences in all.

    Returns:
        `prefix_matching`, `copying` (definition `head-output`) and `copying_published`.

    Raises:
        InputError: A number is out of range, or no length fits.
    """
    checks.check_count("n_sequences", n_sequences)
    pool = model_token_pool(model)
    chosen = spread_sequences(model, pool, n_sequences)
    periods = [sequence.period for sequence in chosen]
    settings = {
        "seed": seed,
        "n_sequences": n_sequences,
        "prefix_definition": prefix_definition,
        "sequences": [sequence.number for sequence in chosen],
        "periods": periods,
        "n_tokens": [REPEATS * period + (model.bos is not None) for period in (periods[0], periods[-1])],
        "left_out": list(range(len(chosen), n_sequences)),
        "lengths": "spread",
        "token_source": pool.source,
        "bos": model.bos,
        "bos_in_front": model.bos is not None,
        "batch_size": batch_size,
    }
    repeats = [repeated_row(model, pool, period, seed, number) for number, period in chosen]
    prefixes = prefix_matching_pass(model, repeats, periods, prefix_definition, batch_size, progress)
    distinct = [distinct_row(model, pool, REPEATS * period, seed, number) for number, period in chosen]
    copies = copying_pass(model, distinct, ["head-output", "published"], batch_size, progress)
    lengths = [len(row) for row in repeats]  # the same as those of the distinct tokens
    return InductionScores(
        _head_scores(model, prefixes, "prefix_matching", prefix_definition, settings, **_by_length(prefixes, lengths)),
        _copying_scores(model, copies, "head-output", settings, lengths),
        _copying_scores(model, copies, "published", settings, lengths),
    )


def repeat_loss(
    model: Model,
    n_sequences: int = 20,
    seed: int = 0,
    *,
    period: int = LOSS_PERIOD,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> RepeatLoss:
    """Measure the in-context learning score: loss on repeated random tokens, repeat by repeat, and late minus early.

    Args:
        model: The model.
        n_sequences: The number of sequences.
        seed: As in `repeated_tokens`.
        period: Length of what is repeated.
        batch_size: Sequences run together; "auto" fits it to the machine.
        progress: Called with the number of sequences done since the last call.

    Returns:
        Mean loss in nats per token on each repeat with its variance over sequences, and the last less the first.

    Raises:
        InputError: As `repeated_tokens`.

    Source: Olsson et al. 2022; Bansal et al. 2023, section 2.2.
    """
    rows = repeated_tokens(model, period, n_sequences, seed)
    bos = has_bos(rows.shape[1], period)
    statistics = repeat_statistics(repeat_loss_pass(model, rows, period, bos, batch_size, progress))
    return RepeatLoss(
        loss=statistics.loss,
        variance=statistics.variance,
        n=statistics.n,
        late_minus_early=float(statistics.late_minus_early),
        late_minus_early_stderr=float(statistics.late_minus_early_stderr),
        provenance=provenance(
            model,
            seed=seed,
            n_sequences=n_sequences,
            period=period,
            token_source=model_token_pool(model).source,
            **_bos_record(model, rows),
        ),
    )


def record_patterns(
    model: Model, tokens: Int[Tensor, "1 pos"] | str, definition: str = "", **settings: Any
) -> Patterns:
    """Record the attention pattern of every head on one prompt.

    Each layer's patterns become 256 levels as soon as the forward pass has them, so that those of one layer at a time
    are held as numbers.

    Args:
        model: The model.
        tokens: One sequence, or a text. A pattern has a weight for every pair of tokens: take some hundreds at most.
        definition: A description of the prompt, for readers of the patterns.
        settings: Further entries of the provenance.

    Returns:
        The patterns, to within 0.002, with the prompt's tokens as text (their numbers, where there is no tokenizer).

    Raises:
        InputError: There is more than one sequence, or it does not fit the model.
    """
    ids = model.check_tokens(tokens)
    if len(ids) != 1:
        raise InputError(f"expected one sequence of tokens [1, pos], got {list(ids.shape)}")
    weights = patterns_pass(model, ids)
    texts = [str(token) for token in ids[0].tolist()] if model.tokenizer is None else model.to_str_tokens(ids)
    return Patterns(
        weights,
        tuple(texts),
        definition,
        provenance(model, tokens=ids[0].tolist(), **_bos_record(model, ids), **settings),
    )


def _bos_record(model: Model, ids: Int[Tensor, "batch pos"]) -> dict[str, Any]:
    """Return the entries of a provenance on the BOS token: its number, and True if every sequence begins with it."""
    return {"bos": model.bos, "bos_in_front": bool((ids[:, 0] == (-1 if model.bos is None else model.bos)).all())}


def _head_scores(
    model: Model, by_sequence: Tensor, measure: str, definition: str, settings: dict[str, Any], **extra_fields: Any
) -> HeadScores:
    return HeadScores(
        by_sequence.mean(0),
        variance=by_sequence.var(0) if len(by_sequence) > 1 else None,
        n=len(by_sequence),
        measure=measure,
        definition=definition,
        provenance=provenance(model, definition=definition, **settings),
        **extra_fields,
    )


def _copying_scores(
    model: Model,
    scores: dict[str, Tensor],
    definition: str,
    settings: dict[str, Any],
    lengths: Sequence[int] | None = None,
) -> HeadScores:
    extras = {name: scores[name].mean(0) for name in ("self_attention", "bos_attention")}
    by_length = {} if lengths is None else _by_length(scores[definition], lengths)
    return _head_scores(model, scores[definition], "copying", definition, settings, extras=extras, **by_length)


def _by_length(by_sequence: Float[Tensor, "sequence layer head"], lengths: Sequence[int]) -> dict[str, Tensor]:
    """Return the mean scores of sequences of similar length, and the mean length of each group; the shortest first."""
    groups = min(LENGTH_GROUPS, len(lengths))
    numbers = torch.tensor(lengths, dtype=torch.float32)
    return {
        "by_length": torch.stack([part.mean(0) for part in by_sequence.tensor_split(groups)]),
        "lengths": torch.stack([part.mean() for part in numbers.tensor_split(groups)]),
    }
