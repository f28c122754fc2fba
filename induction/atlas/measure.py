"""The head atlas of a model: every detector on repeated random tokens and on text, with the random-weights control."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headcount.induction.atlas.detectors import Detector, every_detector
from headcount.induction.atlas.examples import text_examples
from headcount.induction.formulas.prefix_matching import REPEATS
from headcount.induction.passes.atlas import detectors_pass
from headcount.induction.tokens.sampling import model_token_pool, repeated_row, spread_sequences
from headcount.induction.tokens.texts import Texts, read_texts, text_rows
from headcount.results import HeadAtlas, HeadScores, InputError
from headcount.results.internal import CONTROL, TEXT, checks
from headcount.tracing import BatchSize, Model, Progress, provenance, randomised

ATLAS_SEQUENCES = 20
"""Sequences of random tokens, unless another number is given."""

CONTROL_SEQUENCES = 10
"""Sequences of the control at most, of either kind: random weights differ little from sequence to sequence."""

Rows = list[Int[Tensor, " pos"]]


def head_atlas(
    model: Model,
    *,
    sequences: int | Int[Tensor, "batch pos"] = ATLAS_SEQUENCES,
    text: Any = None,
    seed: int = 0,
    control: bool = True,
    examples: bool = True,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadAtlas:
    """Score every head by every detector, on repeated random tokens and on text, in one pass each.

    `headcount.induction.formulas.head_detectors` defines the scores: previous token, duplicate token, induction, self,
    first token and the share of queries above 0.3 there, entropy, two tokens back. `register_detector` adds your own.
    Patterns are computed some rows at a time, so that memory is linear in length.

    Args:
        model: The model.
        sequences: The number of sequences of repeated random tokens, with lengths as of `score_heads`; or tokens.
        text: A list of texts; the path of a file, or of a folder of .txt and .md files; rows of tokens; or None for a
            small text that ships with the package. Texts are cut into sequences of 128 tokens, of which 500 are taken
            at most.
        seed: Seed of the random tokens, and of the random weights.
        control: True also scores the same architecture with random weights, on up to ten sequences of either kind,
            where the model is whole and its weights are in memory.
        examples: True also keeps sequences of the text at which each head is highest, and at percentiles.
        batch_size: Sequences run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of sequences done since the last call.

    Returns:
        Mean and unbiased variance over the sequences in which a score is defined: one in which no token comes twice,
        say, has no duplicate.

    Raises:
        InputError: A number is out of range, a text cannot be read, or the model has no tokenizer to make tokens with.
    """
    random, of_random = _random_rows(model, sequences, seed)
    on_text, of_text = _text_rows(model, text)
    detectors = every_detector()
    settings = {
        "seed": seed,
        **of_random,
        **of_text,
        "detectors": {detector.name: detector.definition for detector in detectors},
        "control": control and has_control(model),
        "batch_size": batch_size,
    }
    record = provenance(model, **settings)
    names = [detector.name for detector in detectors]
    scores = _scores(model, random, detectors, batch_size, progress)
    numbers = _numbers(model, on_text, detectors, batch_size, progress, examples=examples)
    parts = _by_name("", detectors, scores) | _by_name(f"{TEXT}/", detectors, numbers[..., 0])
    if control and has_control(model):
        other = randomised(model, seed)
        for prefix, rows in (("", random), (f"{TEXT}/", on_text)):
            values = _scores(other, evenly(rows, CONTROL_SEQUENCES), detectors, batch_size, progress)
            parts |= _by_name(f"{CONTROL}/{prefix}", detectors, values)
    chosen = text_examples(model, on_text, names, numbers) if examples else None
    return HeadAtlas(parts, chosen, record)


def has_control(model: Model) -> bool:
    """Return True if random weights can be drawn for a model: it is whole, and its weights are in memory."""
    return model.in_memory and model.pruned is None


def evenly(rows: Sequence[Any], count: int) -> list[Any]:
    """Return so many rows at most, evenly spread over all, the first and the last among them."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _numbers(
    model: Model,
    rows: Rows,
    detectors: Sequence[Detector],
    batch_size: BatchSize,
    progress: Progress | None,
    *,
    examples: bool,
) -> Float[Tensor, "sequence layer head score number"]:
    functions = [(detector.function, detector.of_positions) for detector in detectors]
    return detectors_pass(model, rows, functions, batch_size, progress, examples=examples)


def _scores(
    model: Model, rows: Rows, detectors: Sequence[Detector], batch_size: BatchSize, progress: Progress | None
) -> Float[Tensor, "sequence layer head score"]:
    return _numbers(model, rows, detectors, batch_size, progress, examples=False)[..., 0]


def _by_name(
    prefix: str, detectors: Sequence[Detector], scores: Float[Tensor, "sequence layer head score"]
) -> dict[str, HeadScores]:
    """Return the scores over sequences by name."""
    parts = {}
    for detector, values in zip(detectors, scores.unbind(-1), strict=True):
        defined = ~values.isnan().flatten(1).all(1)  # no query counts in the others, whatever the head
        values = values[defined] if bool(defined.any()) else values
        parts[f"{prefix}{detector.name}"] = HeadScores(
            values.mean(0),
            variance=values.var(0) if len(values) > 1 else None,
            n=len(values),
            measure=detector.name,
            definition=detector.definition,
        )
    return parts


def _random_rows(model: Model, sequences: Any, seed: int) -> tuple[Rows, dict[str, Any]]:
    """Return the sequences of random tokens, and their entries of the provenance."""
    if isinstance(sequences, Tensor):
        rows = list(model.check_tokens(sequences).cpu())
        return rows, {"sequences": len(rows), "random_tokens": _digest(rows), "n_tokens": _lengths(rows)}
    checks.check_count("sequences", sequences)
    checks.check_seed(seed)
    pool = model_token_pool(model)
    chosen = spread_sequences(model, pool, sequences)
    rows = [repeated_row(model, pool, period, seed, number) for number, period in chosen]
    periods = [period for _, period in chosen]
    settings = {"sequences": sequences, "repeats": REPEATS, "periods": periods, "token_source": pool.source}
    return rows, settings | {"n_tokens": _lengths(rows)}


def _text_rows(model: Model, text: Any) -> tuple[Rows, dict[str, Any]]:
    """Return the sequences of text, and their entries of the provenance."""
    tokens = _as_rows(model, text)
    if tokens is not None:
        source: Mapping[str, Any] = {"text": "rows of tokens", "text_digest": _digest(tokens)}
    else:
        texts = text if isinstance(text, Texts) else read_texts(text)
        tokens, source = text_rows(model, texts), {"text": texts.source, "text_digest": texts.digest}
    return tokens, {**source, "text_sequences": len(tokens), "text_tokens": _lengths(tokens)}


def _as_rows(model: Model, text: Any) -> Rows | None:
    """Return rows of tokens as checked tensors; None for anything else."""
    if isinstance(text, Tensor):
        return list(model.check_tokens(text).cpu())
    if not isinstance(text, list | tuple) or not text or isinstance(text, Texts) or isinstance(text[0], str):
        return None
    try:
        rows = [torch.as_tensor(row) for row in text]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"text: expected texts or rows of tokens, got rows of {type(text[0]).__name__}") from error
    return [model.check_tokens(row[None])[0].cpu() for row in rows]


def _digest(rows: Rows) -> str:
    return hashlib.sha256(str([row.tolist() for row in rows]).encode()).hexdigest()


def _lengths(rows: Rows) -> list[int]:
    lengths = [len(row) for row in rows]
    return [min(lengths), max(lengths)]
