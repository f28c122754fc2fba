"""Induction scores of every head of a model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction import copying_score, loss_by_repeat, prefix_score, sequences
from headcount.induction.loss_by_repeat import token_loss
from headcount.induction.passes import copying_pass, eigenvalues, prefix_pass
from headcount.induction.sampling import check_counts, distinct_of, fitting, pool_of, repeated_tokens, repeats_of
from headcount.results import HeadScores, InductionScores, InputError, Patterns, RepeatLoss
from headcount.results.kinds.patterns import levels
from headcount.tracing import BatchSize, Hook, Model, Progress, provenance
from headcount.tracing.internal import Prepared, Recorder, run_batches
from headcount.travel import travels

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
    """The prefix-matching score of every head: attention to what followed the current token before.

    The default, `successor`, is the mean over queries of the summed attention to the successors of all earlier
    occurrences; see `headcount.induction.prefix_score.entries` for the others. Only these entries of the patterns are
    computed.

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
    body = ids[:, prefix_score.has_bos(ids.shape[1], period) :]
    if not torch.equal(body, body[:, :period].repeat(1, prefix_score.REPEATS)):
        warnings.warn(
            f"tokens do not repeat with period {period}: the scores are a control, not induction", stacklevel=2
        )
    rows = list(ids)
    scores = prefix_pass(model, rows, [period] * len(rows), definition, batch_size)
    settings = {"period": period, "n_tokens": len(rows[0]), "batch_size": batch_size}
    return _head_scores(model, scores, "prefix_matching", definition, settings)


def copying(
    model: Model,
    tokens: Int[Tensor, "batch pos"],
    definition: str = "head-output",
    *,
    batch_size: BatchSize = "auto",
) -> HeadScores:
    """The copying score of every head: does it raise the token that it attends to most?

    Each head works alone, on the embeddings: layer l reads LN_l(embedding + position), whatever its depth. See
    `headcount.induction.copying_score.copying_score` for `head-output` (the default), `published` (each token's own
    value in place of the head's output, as in the published code) and `olsson`, and
    `headcount.induction.copying_score.eigenvalue_score` for `eigenvalue`, which depends on the weights alone. Removed
    parts (`masked`) play no role.

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
    copying_score.check_definition(definition)
    rows = list(model.check_tokens(tokens))
    if len(rows[0]) < 2:
        raise InputError("copying needs 2 tokens or more in a sequence")
    settings = {"n_tokens": len(rows[0]), "batch_size": batch_size}
    if definition == "eigenvalue" and model.server is not None:
        raise InputError(f"eigenvalue copying reads the weights, which {model.name} has on a server: take another")
    if definition == "eigenvalue":
        values = eigenvalues(model)
        return HeadScores(
            values, n=1, measure="copying", definition=definition, provenance=provenance(model, definition=definition)
        )
    found = copying_pass(model, rows, [definition], batch_size)
    return _copying_scores(model, found, definition, settings)


def score_heads(
    model: Model,
    n_sequences: int = 100,
    seed: int = 0,
    *,
    prefix_definition: str = "successor",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> InductionScores:
    """Prefix matching and copying of every head on the paper's sequences.

    Sequence s has period L = 25 + 2·s; prefix matching sees 4 repeats, copying 4·L distinct tokens. Lengths that do not
    fit the context or need more tokens than there are to draw from are left out, with a warning, and recorded.

    Args:
        model: The model.
        n_sequences: The paper takes 100, of 101 to 893 tokens.
        seed: Sequence s of a seed is always the same, whatever else runs.
        prefix_definition: See `prefix_matching`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of sequences done since the last call; there are 2 · n_sequences in all.

    Returns:
        `prefix_matching`, `copying` (definition `head-output`) and `copying_published`.

    Raises:
        InputError: A number is out of range, or no length fits.
    """
    check_counts(n_sequences=n_sequences)
    pool = pool_of(model)
    used, left_out = fitting(model, pool, n_sequences)
    settings = {
        "seed": seed,
        "n_sequences": n_sequences,
        "prefix_definition": prefix_definition,
        "sequences": used,
        "left_out": left_out,
        "token_source": pool.source,
        "batch_size": batch_size,
    }
    periods = [sequences.period(index) for index in used]
    repeats = [repeats_of(model, pool, period, seed, index) for index, period in zip(used, periods, strict=True)]
    prefixes = prefix_pass(model, repeats, periods, prefix_definition, batch_size, progress)
    distinct = [
        distinct_of(model, pool, prefix_score.REPEATS * period, seed, index)
        for index, period in zip(used, periods, strict=True)
    ]
    found = copying_pass(model, distinct, ["head-output", "published"], batch_size, progress)
    return InductionScores(
        _head_scores(model, prefixes, "prefix_matching", prefix_definition, settings),
        _copying_scores(model, found, "head-output", settings),
        _copying_scores(model, found, "published", settings),
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
    """The in-context learning score: loss on repeated random tokens, repeat by repeat, and late minus early.

    Args:
        model: The model.
        n_sequences: How many sequences.
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
    bos = prefix_score.has_bos(rows.shape[1], period)

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        # Logits over the vocabulary outweigh everything else: a sequence at a time is as fast and takes least memory.
        parts = rows[batch].split(1 if batch_size == "auto" else len(batch))
        with torch.no_grad():
            passes = [model.pass_with(part, finish=TokenLoss(part)) for part in parts]
        return passes, lambda losses: list(loss_by_repeat.loss_by_repeat(torch.cat(losses), period, bos))

    by_repeat = run_batches(model, prepare, [rows.shape[1]] * len(rows), batch_size, progress)
    found = loss_by_repeat.repeat_statistics(torch.stack(by_repeat))
    return RepeatLoss(
        loss=found.loss,
        variance=found.variance,
        n=found.n,
        late_minus_early=float(found.late_minus_early),
        late_minus_early_stderr=float(found.late_minus_early_stderr),
        provenance=provenance(
            model, seed=seed, n_sequences=n_sequences, period=period, token_source=pool_of(model).source
        ),
    )


def record_patterns(
    model: Model, tokens: Int[Tensor, "1 pos"] | str, definition: str = "", **settings: Any
) -> Patterns:
    """The attention pattern of every head on one prompt.

    Each layer's patterns become 256 levels as soon as the forward pass has them, so that those of one layer at a time
    are held as numbers.

    Args:
        model: The model.
        tokens: One sequence, or a text. A pattern has a weight for every pair of tokens: keep it to some hundreds.
        definition: What the prompt is, for those who look at the patterns.
        settings: What else is to stand in the provenance.

    Returns:
        The patterns, to within 0.002, with the prompt's tokens as text (their numbers, where there is no tokenizer).

    Raises:
        InputError: There is more than one sequence, or it does not fit the model.
    """
    ids = model.check_tokens(tokens)
    if len(ids) != 1:
        raise InputError(f"expected one sequence of tokens [1, pos], got {list(ids.shape)}")
    reading = LevelsReading()
    layers = range(model.sizes.n_layers)
    model.run_until_last(ids, [(f"blocks.{layer}.attn.hook_pattern", reading) for layer in layers])
    texts = [str(token) for token in ids[0].tolist()] if model.tokenizer is None else model.to_str_tokens(ids)
    about = provenance(model, tokens=ids[0].tolist(), **settings)
    return Patterns(torch.stack(reading.records), tuple(texts), definition, about)


@travels
class LevelsReading(Recorder):
    """Keeps every layer's patterns of one sequence in 256 levels."""

    def __call__(self, pattern: Tensor, hook: Hook) -> None:
        """Keep them."""
        self.records.append(levels(pattern[0].detach().float()).cpu())


@travels
class TokenLoss:
    """Makes of logits the loss of every token but the first."""

    def __init__(self, tokens: Int[Tensor, "batch pos"]) -> None:
        self.tokens = tokens

    def __call__(self, logits: Tensor, hook: Hook) -> Tensor:
        """On the CPU."""
        return token_loss(logits, self.tokens.to(logits.device)).cpu()


def _head_scores(
    model: Model, by_sequence: Tensor, measure: str, definition: str, settings: dict[str, Any], **more: Any
) -> HeadScores:
    return HeadScores(
        by_sequence.mean(0),
        variance=by_sequence.var(0) if len(by_sequence) > 1 else None,
        n=len(by_sequence),
        measure=measure,
        definition=definition,
        provenance=provenance(model, definition=definition, **settings),
        **more,
    )


def _copying_scores(model: Model, found: dict[str, Tensor], definition: str, settings: dict[str, Any]) -> HeadScores:
    extras = {name: found[name].mean(0) for name in ("self_attention", "bos_attention")}
    return _head_scores(model, found[definition], "copying", definition, settings, extras=extras)
