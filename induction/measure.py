"""Induction scores of every head of a model: joins the mathematics of this room to `tracing`."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction import copies, learning, prefix, sequences
from results import HeadScores, InductionScores, InputError, RepeatLoss
from tracing import AttentionCall, BatchSize, Hook, Model, map_batches, pad, provenance
from tracing.ranking import TokenPool, token_pool
from tracing.weights import output_heads, unembed_embed, unembedding, value_heads

REPEATS = 4
_LOGITS_AT_ONCE = 1 << 24
"""Logits [batch, head, query, key] held at a time, 64 MiB of them: heads are taken in groups."""

Progress = Callable[[int], Any]


def repeated_tokens(model: Model, period: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Random tokens repeated 4 times, as prefix matching takes them.

    Args:
        model: The model whose tokenizer they are drawn from: the middle of its frequency ranking.
        period: Length L of what is repeated.
        n_sequences: How many sequences.
        seed: Sequence s of a seed is always the same.

    Returns:
        Tokens [n_sequences, 4·L + 1] with BOS, or [n_sequences, 4·L] for a model that has none.

    Raises:
        InputError: A number is out of range, the sequence does not fit into the model's context, or there are too few
            tokens to draw from.
    """
    _check_counts(n_sequences=n_sequences)
    pool = _pool(model)
    rows = [_repeats(model, pool, period, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


def distinct_tokens(model: Model, length: int, n_sequences: int = 1, seed: int = 0) -> Int[Tensor, "batch pos"]:
    """Random tokens without repetition, as copying takes them; BOS, where the model has one, comes in addition.

    Args, Returns and Raises as in `repeated_tokens`, with the number of tokens in place of a period.
    """
    _check_counts(n_sequences=n_sequences)
    pool = _pool(model)
    rows = [_distinct(model, pool, length, seed, index) for index in range(n_sequences)]
    return model.check_tokens(torch.stack(rows))


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
    occurrences; see `induction.prefix.entries` for the others. Only these entries of the patterns are computed.

    Args:
        model: The model.
        tokens: Repeated tokens: 4·L + 1 of them with BOS, or 4·L.
        period: Length L of what is repeated.
        definition: `successor`, `published`, `entry-mean` or `offset`.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.

    Returns:
        Mean and unbiased variance over sequences, 0 to 1.

    Raises:
        InputError: The tokens do not repeat with this period or do not fit the model, or an argument is unknown.

    Source: Bansal et al. 2023, Algorithm 1; Olsson et al. 2022.
    """
    rows = list(model.check_tokens(tokens))
    bos, repeats = prefix.layout(len(rows[0]), period)
    body = rows[0].new_tensor([]) if not rows else torch.stack(rows)[:, 1:] if bos else torch.stack(rows)
    if not torch.equal(body, body[:, :period].repeat(1, repeats)):
        raise InputError(
            f"tokens do not repeat with period {period}: expected x repeated {repeats} times, as from repeated_tokens"
        )
    scores = _prefix(model, rows, [period] * len(rows), definition, batch_size)
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
    `induction.copies.copying_score` for `head-output` (the default), `published` (each token's own value in place of
    the head's output, as in the published code) and `olsson`, and `induction.copies.eigenvalue_score` for `eigenvalue`,
    which depends on the weights alone. Removed parts (`tracing.masked`) play no role.

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
    copies.check_definition(definition)
    rows = list(model.check_tokens(tokens))
    if len(rows[0]) < 2:
        raise InputError("copying needs 2 tokens or more in a sequence")
    settings = {"n_tokens": len(rows[0]), "batch_size": batch_size}
    if definition == "eigenvalue":
        values = _eigenvalues(model)
        return HeadScores(
            values, n=1, measure="copying", definition=definition, provenance=provenance(model, definition=definition)
        )
    found = _copying(model, rows, [definition], batch_size)
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
    _check_counts(n_sequences=n_sequences)
    pool = _pool(model)
    used, left_out = _fitting(model, pool, n_sequences)
    settings = {
        "seed": seed,
        "n_sequences": n_sequences,
        "sequences": used,
        "left_out": left_out,
        "token_source": pool.source,
        "batch_size": batch_size,
    }
    periods = [sequences.period(index) for index in used]
    repeats = [_repeats(model, pool, period, seed, index) for index, period in zip(used, periods, strict=True)]
    prefixes = _prefix(model, repeats, periods, prefix_definition, batch_size, progress)
    distinct = [
        _distinct(model, pool, REPEATS * period, seed, index) for index, period in zip(used, periods, strict=True)
    ]
    found = _copying(model, distinct, ["head-output", "published"], batch_size, progress)
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
    period: int = 50,
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
    bos, _ = prefix.layout(rows.shape[1], period)

    def compute(batch: list[int]) -> Sequence[Tensor]:
        with torch.no_grad():
            losses = learning.token_loss(model(rows[batch]), rows[batch])
        return _advance(progress, list(learning.loss_by_repeat(losses, period, bos).cpu()))

    # Logits over the vocabulary outweigh everything else: a sequence at a time is as fast and takes least memory.
    size = 1 if batch_size == "auto" else batch_size
    by_repeat = map_batches(compute, [rows.shape[1]] * len(rows), size, model.device.type)
    found = learning.repeat_statistics(torch.stack(by_repeat))
    return RepeatLoss(
        loss=found.loss,
        variance=found.variance,
        n=found.n,
        late_minus_early=float(found.late_minus_early),
        late_minus_early_stderr=float(found.late_minus_early_stderr),
        provenance=provenance(
            model, seed=seed, n_sequences=n_sequences, period=period, token_source=_pool(model).source
        ),
    )


def _prefix(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    periods: Sequence[int],
    definition: str,
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> Float[Tensor, "sequence layer head"]:
    """Prefix matching of each sequence, their periods as they may be."""
    wanted = [
        prefix.entries(period, len(row) // period, len(row) % period == 1, definition)
        for row, period in zip(rows, periods, strict=True)
    ]

    def compute(batch: list[int]) -> Sequence[Tensor]:
        query, key, real = (
            pad(part, model.device) for part in zip(*(_with_mask(wanted[i]) for i in batch), strict=True)
        )
        count = torch.tensor([wanted[item].count for item in batch], device=model.device)[:, None]
        by_layer: list[Tensor] = []

        def at_call(call: AttentionCall, hook: Hook) -> Tensor:
            output, log_sum_exp = call.attend()
            here = output.device
            attention = call.entries(query.to(here), key.to(here), log_sum_exp) * real.to(here)[:, None]
            by_layer.append((attention.sum(-1) / count.to(here)).cpu())
            return output

        hooks = [(f"blocks.{layer}.attn.call", at_call) for layer in range(model.sizes.n_layers)]
        model.run_until_last(pad([rows[item] for item in batch], model.device), hooks)
        return _advance(progress, list(torch.stack(by_layer, dim=1)))

    return torch.stack(map_batches(compute, [len(row) for row in rows], batch_size, model.device.type))


def _with_mask(entries: prefix.Entries) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, and True for each: padding will be False."""
    return entries.query, entries.key, torch.ones_like(entries.query, dtype=torch.bool)


def _copying(
    model: Model,
    rows: Sequence[Int[Tensor, " pos"]],
    definitions: Sequence[str],
    batch_size: BatchSize,
    progress: Progress | None = None,
) -> dict[str, Float[Tensor, "sequence layer head"]]:
    """Copying of each sequence by each definition, and the shares `self_attention` and `bos_attention`."""

    def compute(batch: list[int]) -> Sequence[dict[str, Tensor]]:
        tokens = pad([rows[item] for item in batch], model.device)
        lengths = torch.tensor([len(rows[item]) for item in batch])
        by_layer = _on_embeddings(model, tokens, lengths, definitions)
        stacked = {name: torch.stack([layer[name] for layer in by_layer], dim=1) for name in by_layer[0]}
        return _advance(
            progress, [{name: values[row] for name, values in stacked.items()} for row in range(len(batch))]
        )

    found = map_batches(compute, [len(row) for row in rows], batch_size, model.device.type)
    return {name: torch.stack([row[name] for row in found]) for name in found[0]}


def _on_embeddings(
    model: Model, tokens: Int[Tensor, "batch pos"], lengths: Int[Tensor, " batch"], definitions: Sequence[str]
) -> list[dict[str, Float[Tensor, "batch head"]]]:
    """Run every layer's attention on the embeddings and score it: one dictionary of [batch, head] a layer."""
    unembed, unembed_bias = unembedding(model, tokens)
    positions = torch.arange(tokens.shape[1])
    valid = (positions >= 1) & (positions < lengths[:, None])
    begins_with_bos = tokens[:, :1] == (-1 if model.bos is None else model.bos)
    embedded: list[Tensor] = []
    by_layer: list[dict[str, Tensor]] = []

    def at_input(resid_pre: Tensor, hook: Hook) -> Tensor | None:
        if not embedded:
            embedded.append(resid_pre)
            return None
        return embedded[0].to(resid_pre.device)

    def at_call(call: AttentionCall, hook: Hook) -> Tensor:
        w_o, b_o = output_heads(model, hook.layer())
        here = call.query.device
        written = copies.project(unembed.to(here), unembed_bias.to(here), w_o, b_o)
        scored = _score_call(call, written, valid.to(here), definitions)
        scored["bos_attention"] = scored["bos_attention"] * begins_with_bos.to(here)
        by_layer.append({name: values.cpu() for name, values in scored.items()})
        return call.query  # never used: the next layer reads the embeddings again

    hooks: list[tuple[str, Callable[..., Any]]] = []
    for layer in range(model.sizes.n_layers):
        block = f"blocks.{layer}."
        hooks += [(block + "hook_resid_pre", at_input), (block + "attn.call", at_call)]
        if layer < model.sizes.n_layers - 1:
            hooks += [(f"{block}mlp.skip_{number}", _nothing) for number in range(len(model.family.mlp))]
    model.run_until_last(tokens, hooks)
    return by_layer


def _score_call(
    call: AttentionCall, unembed: copies.Unembedding, valid: Tensor, definitions: Sequence[str]
) -> dict[str, Float[Tensor, "batch head"]]:
    """Copying scores of one layer, a group of heads at a time."""
    batch, n_heads, length, _ = call.query.shape
    group = max(1, _LOGITS_AT_ONCE // (batch * length * length))
    parts = []
    for heads in torch.split(torch.arange(n_heads), group):
        some = call.of_heads(heads)
        written = copies.Unembedding(unembed.per_head[:, heads], unembed.constant)
        scores = some.scores().float()
        attended = scores.argmax(-1)
        z = scores.softmax(-1) @ some.value.float()
        through = {"published": some.value.float()}
        part = {
            name: copies.copying_score(through.get(name, z), attended, written, valid, name) for name in definitions
        }
        own = attended == torch.arange(length, device=attended.device)
        part["self_attention"] = _share(own, valid)
        part["bos_attention"] = _share(attended == 0, valid)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


def _share(where: Tensor, valid: Tensor) -> Float[Tensor, "batch head"]:
    return (where & valid[:, None]).sum(-1) / valid.sum(-1)[:, None]


def _nothing(value: Any, hook: Hook) -> None:
    return None


def _eigenvalues(model: Model) -> Float[Tensor, "layer head"]:
    middle = unembed_embed(model)
    by_layer = []
    for layer in range(model.sizes.n_layers):
        w_v, w_o = value_heads(model, layer).double(), output_heads(model, layer)[0].double()
        by_layer.append(copies.eigenvalue_score(w_v, w_o, middle.to(w_v.device)).cpu())
    return torch.stack(by_layer)


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


def _advance(progress: Progress | None, results: list[Any]) -> list[Any]:
    if progress is not None:
        progress(len(results))
    return results


def _pool(model: Model) -> TokenPool:
    if model.tokenizer is None:
        raise InputError(
            f"{model.name} was loaded without a tokenizer to draw tokens from: load_model(..., tokenizer=)"
        )
    pool = token_pool(model.tokenizer, model.sizes.vocab)
    return pool if model.bos is None else replace(pool, ids=pool.ids[pool.ids != model.bos])


def _repeats(model: Model, pool: TokenPool, period: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    return sequences.repeat_sequence(pool.ids, period, seed, index, model.bos, REPEATS)


def _distinct(model: Model, pool: TokenPool, length: int, seed: int, index: int) -> Int[Tensor, " pos"]:
    return sequences.distinct_sequence(pool.ids, length, seed, index, model.bos)


def _fitting(model: Model, pool: TokenPool, n_sequences: int) -> tuple[list[int], list[int]]:
    """The sequences whose length fits, and those left out."""
    longest = min(model.sizes.context - (model.bos is not None), len(pool.ids))
    used = [index for index in range(n_sequences) if REPEATS * sequences.period(index) <= longest]
    left_out = list(range(len(used), n_sequences))
    if not used:
        raise InputError(
            f"no sequence fits {model.name}: the shortest has {REPEATS * sequences.period(0)} tokens, and the context of "
            f"{model.sizes.context} and the {len(pool.ids)} tokens to draw from allow {longest}"
        )
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {n_sequences} sequences are left out: {model.name} takes {longest} distinct tokens at most",
            stacklevel=3,
        )
    return used, left_out


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name} must be a whole number of 1 or more, not {count!r}")
