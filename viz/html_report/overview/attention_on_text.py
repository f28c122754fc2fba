"""Attention of heads on the stored text: on earlier tokens of four kinds, and at the query that shows most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.results import Patterns
from headcount.viz.attention_views.stored_patterns import LONGEST
from headcount.viz.contents import Contents

TEXT = "text"
HALF = 0.5

KINDS: Mapping[str, str] = {
    "first": "first token",
    "previous": "previous token",
    "duplicate": "earlier copies of the token",
    "successor": "tokens after earlier copies",
}
"""The kinds of keys, with their titles."""

LABELS: Mapping[str, str] = {
    "first": "first-token head",
    "previous": "previous-token head",
    "duplicate": "duplicate-token head",
    "successor": "induction on this text",
}


@dataclass(frozen=True, eq=False)
class TextAttention:
    """Mean attention of every head on four kinds of keys of one prompt.

    Attributes:
        name: The prompt's name.
        patterns: Attention of all heads on it.
        shares: For each of `KINDS` the mean attention of every head, over the queries that have such keys.
        even: The same for attention that is spread evenly over a query and the tokens before it.
        queries: For each of `KINDS` the number of these queries.
    """

    name: str
    patterns: Patterns
    shares: Mapping[str, Float[Tensor, "layer head"]]
    even: Mapping[str, float]
    queries: Mapping[str, int]

    @property
    def is_text(self) -> bool:
        """True if the prompt is a text, False for repeated random tokens."""
        return self.name == TEXT

    def opening_query(self, head: tuple[int, int]) -> int:
        """Return the query with the most attention off position 0, the last of equal ones."""
        off = 1 - self.patterns.values(*head)[:LONGEST, 0]
        off[0] = 0
        return int((off == off.max()).nonzero()[-1])


def opening_prompt(contents: Contents) -> str:
    """Return the name of the prompt that is shown first: the text, else the first one; "" if there is none."""
    names = list(contents.attention)
    return TEXT if TEXT in names else next(iter(names), "")


def text_attention(contents: Contents) -> TextAttention | None:
    """Return the attention on the prompt that is shown first; None if there is none."""
    name = opening_prompt(contents)
    if not name:
        return None
    patterns = contents.attention[name]
    ids = patterns.provenance.get("tokens")  # a file may hold anything there
    masks = _masks(ids if isinstance(ids, list) and len(ids) == len(patterns.tokens) else patterns.tokens)
    weights = patterns.weights.float() / 255
    queries = {kind: mask.any(-1) for kind, mask in masks.items()}
    shares = {
        kind: (weights[:, :, rows] * masks[kind][rows]).sum(-1).mean(-1)
        if rows.any()
        else torch.full(patterns.shape, nan)
        for kind, rows in queries.items()
    }
    width = torch.arange(1, len(patterns.tokens) + 1)
    even = {kind: float((mask.sum(-1) / width)[queries[kind]].mean()) for kind, mask in masks.items()}
    return TextAttention(name, patterns, shares, even, {kind: int(rows.sum()) for kind, rows in queries.items()})


def _masks(tokens: Sequence[object]) -> dict[str, Tensor]:
    """Return for each kind of keys [query, key], without those at position 0 where another kind is at it.

    The first token is no key of any other kind: there attention is that of a head without anything to do.
    """
    length = len(tokens)
    same = torch.tensor([[a == b for b in tokens] for a in tokens]).view(length, length).tril(-1)
    after = torch.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    previous = torch.eye(length, dtype=torch.bool).roll(1, 0).tril(-1)
    masks = {"previous": previous, "duplicate": same, "successor": after.tril()}
    for mask in masks.values():
        mask[:, 0] = False
    first = torch.zeros_like(same)
    first[1:, 0] = True
    return {"first": first, **masks}


def labels(attention: TextAttention | None) -> dict[str, list[int]]:
    """Return for each label the flat indices of the heads with more than half of their attention on such keys."""
    if attention is None:
        return {}
    flat = {LABELS[kind]: shares.flatten() > HALF for kind, shares in attention.shares.items()}
    return {label: mask.nonzero().flatten().tolist() for label, mask in flat.items()}
