"""One head at a glance: its scores, where it looks on a text, and what it writes for the tokens of that text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.induction import attention_statistics
from headcount.induction.copying_score import Effects, Unembedding, effects, project
from headcount.induction.sampling import check_counts
from headcount.results import HeadProfile, HeadScores, InductionScores, InputError, Standing
from headcount.tracing import AttentionCall, Hook, Model, provenance
from headcount.tracing.internal import Recorder, output_heads, pass_through, unembedding
from headcount.travel import travels

_ROWS_AT_ONCE = 1 << 13
"""Rows of the unembedding held in float32 at a time."""
_LOGITS_AT_ONCE = 1 << 24
"""Logits [source, vocab] held at a time, 64 MiB of them."""


def head_profile(
    model: Model,
    layer: int,
    head: int,
    text: str,
    scores: InductionScores | Mapping[str, HeadScores] | None = None,
    *,
    top: int = 5,
) -> HeadProfile:
    """Looks at one head: where it attends on a text, and what attending to each of the text's tokens makes it write.

    Attention is that of the model as it runs, without parts that are removed at present. What the head writes is, as
    in `copying`, that of the head alone on the embeddings: for a token with embedding (and position) h, at its first
    place in the text, the logits of W_O (W_V LN(h) + b_V) + b_O with the layer's own norm, whatever its depth, and
    neither final norm nor logit cap: the unit is not that of the model's own logits. They are given less their mean
    over the vocabulary. So much the head would write if it attended to that token alone; its output in `copying`
    (`head-output`) is the mean of these, weighted by attention.

    Args:
        model: The model, with its tokenizer.
        layer: The head's layer, from 0.
        head: Its place in the layer, from 0.
        text: What to read; special tokens as the tokenizer puts them by default.
        scores: Scores of all of the model's heads, among which this one is ranked: those of `score_heads`, or any by
            name.
        top: How many raised and how many lowered tokens to keep for each distinct token of the text.

    Returns:
        The head's profile; see there for every field, with its range and unit.

    Raises:
        InputError: There is no such head, or it is removed; the text is empty or longer than the context; the model
            has no tokenizer; or the scores are not those of a model of this shape.
    """
    _check_head(model, layer, head)
    check_counts(top=top)
    maps = _maps(model, scores)
    ids = _read(model, text)
    looking = Looking(head)
    model.run_until_last(ids, [(f"blocks.{layer}.attn.call", looking)])
    (attention,) = looking.records
    entropy = attention_statistics.row_entropy(attention)
    places = _first_places(ids[0])
    sources = ids[0, places]
    written = _written(model, ids, layer, head, places, min(top, model.sizes.vocab))
    return HeadProfile(
        layer=layer,
        head=head,
        text=text,
        tokens=_texts(model, ids[0]),
        pattern=attention,
        by_lag=attention_statistics.mean_by_lag(attention),
        sink=attention_statistics.sink_share(attention).item(),
        entropy=entropy,
        relative_entropy=attention_statistics.relative_entropy(entropy),
        sources=_texts(model, sources),
        raised=tuple(_texts(model, row) for row in written.raised),
        raised_logits=written.raised_logits,
        lowered=tuple(_texts(model, row) for row in written.lowered),
        lowered_logits=written.lowered_logits,
        own_logit=written.own_logit,
        own_rank=written.own_rank,
        vocab=model.sizes.vocab,
        standings={measure: Standing.of(values, layer, head) for measure, values in maps.items()},
        provenance=provenance(model, layer=layer, head=head, n_tokens=ids.shape[1], top=top),
    )


def _check_head(model: Model, layer: int, head: int) -> None:
    for name, index, size in (("layer", layer, model.sizes.n_layers), ("head", head, model.sizes.n_heads)):
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
            raise InputError(f"{name}: expected a whole number from 0 to {size - 1} for {model.name}, got {index!r}")
    if model.pruned is not None and model.pruned.heads[layer].any():
        raise InputError(f"heads of layer {layer} were taken out of {model.name}: profile the whole model's head")
    if model.removed is not None and model.removed.heads[layer, head]:
        raise InputError(f"L{layer}H{head} is removed at present: profile it outside of `masked`")


def _maps(model: Model, scores: Any) -> dict[str, HeadScores]:
    """Scores by measure, each with a value for every head of the model."""
    named = {} if scores is None else vars(scores) if isinstance(scores, InductionScores) else scores
    if not isinstance(named, Mapping) or not all(isinstance(values, HeadScores) for values in named.values()):
        raise InputError(f"scores: expected what score_heads gives, or HeadScores by name, got {scores!r}")
    shape = (model.sizes.n_layers, model.sizes.n_heads)
    for name, values in named.items():
        if values.shape != shape:
            raise InputError(
                f"scores: expected {name} of shape {list(shape)}, the layers and heads of {model.name}, "
                f"got {list(values.shape)}: score this model's heads"
            )
    return dict(named)


def _read(model: Model, text: str) -> Int[Tensor, "1 pos"]:
    """The text's tokens, checked against the model."""
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


def _texts(model: Model, ids: Int[Tensor, " token"]) -> tuple[str, ...]:
    """Each token's text; rows of the embedding that the tokenizer does not know have none, and are named by number."""
    texts = zip(model.to_str_tokens(ids), ids.tolist(), strict=True)
    return tuple(text or f"[{token}]" for text, token in texts)


def _first_places(ids: Int[Tensor, " pos"]) -> Int[Tensor, " source"]:
    """Where each distinct token stands first."""
    first: dict[int, int] = {}
    for place, token in enumerate(ids.tolist()):
        first.setdefault(token, place)
    return torch.tensor(list(first.values()), device=ids.device)


def _written(
    model: Model, ids: Int[Tensor, "1 pos"], layer: int, head: int, places: Int[Tensor, " source"], k: int
) -> Effects:
    """What the head writes for the tokens at these places; alone, on the embeddings: earlier blocks are left out."""
    writing = Writing(head, places, ids[0, places], k)
    before = [(f"blocks.{earlier}.skip", pass_through) for earlier in range(layer)]
    model.run_until_last(ids, [*before, (f"blocks.{layer}.attn.call", writing)])
    return Effects(*writing.records[0])


@travels
class Looking(Recorder):
    """Keeps one head's pattern, [query, key] in float32."""

    def __init__(self, head: int) -> None:
        super().__init__()
        self.head = head

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Keep it."""
        scores = call.of_heads(torch.tensor([self.head])).scores()
        self.records.append(scores[0, 0].float().softmax(-1).cpu())
        return call.query  # never used: the pass ends here


@travels
class Writing(Recorder):
    """Keeps what one head writes for some tokens, as `copies.effects` gives it."""

    def __init__(self, head: int, places: Int[Tensor, " source"], own: Int[Tensor, " source"], k: int) -> None:
        super().__init__()
        self.head, self.places, self.own, self.k = head, places, own, k

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        """Work it out, for some of the tokens at a time."""
        value = call.of_heads(torch.tensor([self.head])).value[0, 0].float()
        values, own = value[self.places.to(value.device)], self.own.to(value.device)
        whole = whole_unembedding(hook.model, hook.layer(), self.head, value.device)
        size = max(1, _LOGITS_AT_ONCE // hook.model.sizes.vocab)
        parts = [
            effects(some, tokens, whole, self.k)
            for some, tokens in zip(values.split(size), own.split(size), strict=True)
        ]
        self.records.append([torch.cat(part).cpu() for part in zip(*parts, strict=True)])
        return call.query  # never used: the pass ends here


@travels
def whole_unembedding(model: Any, layer: int, head: int, device: torch.device) -> Unembedding:
    """The unembedding of the whole vocabulary in one head's own space, formed a few thousand rows at a time."""
    w_o, b_o = output_heads(model, layer)
    parts: list[Unembedding] = []
    for tokens in torch.arange(model.sizes.vocab).split(_ROWS_AT_ONCE):
        rows, bias = unembedding(model, tokens[None])
        part = project(rows.to(device), bias.to(device), w_o[head : head + 1].to(device), b_o.to(device))
        parts.append(part)
    return Unembedding(
        torch.cat([part.per_head for part in parts], dim=2), torch.cat([part.constant for part in parts], dim=1)
    )
