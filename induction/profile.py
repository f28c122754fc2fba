"""One head at a glance: its scores, its attention on a text, and the logits that it writes for that text's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction.formulas import attention_statistics
from headcount.induction.formulas.head_logits import LogitEffects
from headcount.induction.passes.one_head import head_effects, head_pattern
from headcount.results import HeadProfile, HeadScores, InductionScores, InputError, Standing
from headcount.results.internal import checks
from headcount.tracing import Model, provenance


def head_profile(
    model: Model,
    layer: int,
    head: int,
    text: str,
    scores: InductionScores | Mapping[str, HeadScores] | None = None,
    *,
    top: int = 5,
) -> HeadProfile:
    """Profile one head: its attention on a text, and the logits that attending to each of the text's tokens writes.

    Attention is that of the model as it runs, without parts that are removed at present. The logits are, as in
    `copying`, those of the head alone on the embeddings: for a token with embedding (and position) h, at its first
    place in the text, the logits of W_O (W_V LN(h) + b_V) + b_O with the layer's own norm, whatever its depth, and
    neither final norm nor logit cap: the unit is not that of the model's own logits. Their mean over the vocabulary is
    subtracted. They are those of a head that attends to that token alone; its output in `copying` (`head-output`) is
    the mean of these, weighted by attention.

    Args:
        model: The model, with its tokenizer.
        layer: The head's layer, from 0.
        head: Its place in the layer, from 0.
        text: The text that the model reads; special tokens as the tokenizer puts them by default.
        scores: Scores of all of the model's heads, among which this one is ranked: those of `score_heads`, or any by
            name.
        top: The number of raised, and of lowered, tokens listed for each distinct token of the text.

    Returns:
        The head's profile; see `HeadProfile` for every field, with its range and unit.

    Raises:
        InputError: There is no such head, or it is removed; the text is empty or longer than the context; the model
            has no tokenizer; or the scores are not those of a model of this shape.
    """
    check_head(model, layer, head)
    checks.check_count("top", top)
    score_maps = _score_maps(model, scores)
    ids = _text_tokens(model, text)
    pattern = head_pattern(model, ids, layer, head)
    places = _first_places(ids[0])
    effects = head_effects(model, ids, layer, head, places, min(top, model.sizes.vocab))
    return HeadProfile(
        layer=layer,
        head=head,
        text=text,
        tokens=_token_texts(model, ids[0]),
        **_attention_fields(pattern),
        sources=_token_texts(model, ids[0, places]),
        **_effect_fields(model, effects),
        vocab=model.sizes.vocab,
        standings={measure: Standing.of(values, layer, head) for measure, values in score_maps.items()},
        provenance=provenance(model, layer=layer, head=head, n_tokens=ids.shape[1], top=top),
    )


def _attention_fields(pattern: Tensor) -> dict[str, Any]:
    """Return the profile's fields about attention."""
    entropy = attention_statistics.row_entropy(pattern)
    return {
        "pattern": pattern,
        "by_lag": attention_statistics.mean_by_lag(pattern),
        "sink": attention_statistics.sink_share(pattern).item(),
        "entropy": entropy,
        "relative_entropy": attention_statistics.relative_entropy(entropy),
    }


def _effect_fields(model: Model, effects: LogitEffects) -> dict[str, Any]:
    """Return the profile's fields about logits, tokens as text."""
    texts = {name: tuple(_token_texts(model, row) for row in getattr(effects, name)) for name in ("raised", "lowered")}
    return effects._asdict() | texts


def check_head(model: Model, layer: int, head: int) -> None:
    """Raise `InputError` if a model has no such head, or does not have it at present."""
    for name, index, size in (("layer", layer, model.sizes.n_layers), ("head", head, model.sizes.n_heads)):
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
            raise InputError(f"{name}: expected a whole number from 0 to {size - 1} for {model.name}, got {index!r}")
    if layer not in model.layers_with_heads:
        raise InputError(
            f"layer {layer} of {model.name} has no attention heads: choose one of {model.layers_with_heads}"
        )
    if model.pruned is not None and model.pruned.heads[layer].any():
        raise InputError(f"heads of layer {layer} were taken out of {model.name}: take a head of the whole model")
    if model.removed is not None and model.removed.heads[layer, head]:
        raise InputError(f"L{layer}H{head} is removed at present: measure it outside of `masked`")


def _score_maps(model: Model, scores: Any) -> dict[str, HeadScores]:
    """Return scores by measure, each checked to have a value for every head of the model."""
    named = {} if scores is None else vars(scores) if isinstance(scores, InductionScores) else scores
    if not isinstance(named, Mapping) or not all(isinstance(values, HeadScores) for values in named.values()):
        raise InputError(f"scores: expected the result of score_heads, or HeadScores by name, got {scores!r}")
    shape = (model.sizes.n_layers, model.sizes.n_heads)
    for name, values in named.items():
        if values.shape != shape:
            raise InputError(
                f"scores: expected {name} of shape {list(shape)}, the layers and heads of {model.name}, "
                f"got {list(values.shape)}: score this model's heads"
            )
    return dict(named)


def _text_tokens(model: Model, text: str) -> Int[Tensor, "1 pos"]:
    """Return the text's tokens, checked against the model."""
    if model.tokenizer is None:
        raise InputError(f"{model.name} was loaded without a tokenizer to read text with: load_model(..., tokenizer=)")
    if not isinstance(text, str) or not text:
        raise InputError(f"text: expected a text of one token or more, got {text!r}: pass some words")
    ids = model.to_tokens(text)
    if ids.shape[1] > model.sizes.context:
        raise InputError(
            f"text: expected at most {model.sizes.context} tokens, the context of {model.name}, got {ids.shape[1]}: "
            "pass a shorter one"
        )
    return model.check_tokens(ids)


def _token_texts(model: Model, ids: Int[Tensor, " token"]) -> tuple[str, ...]:
    """Return each token's text, or its number for rows of the embedding that the tokenizer does not know."""
    texts = zip(model.to_str_tokens(ids), ids.tolist(), strict=True)
    return tuple(text or f"[{token}]" for text, token in texts)


def _first_places(ids: Int[Tensor, " pos"]) -> Int[Tensor, " source"]:
    """Return the first position of each distinct token."""
    first: dict[int, int] = {}
    for place, token in enumerate(ids.tolist()):
        first.setdefault(token, place)
    return torch.tensor(list(first.values()), device=ids.device)
