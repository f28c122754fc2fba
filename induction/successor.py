"""Successor heads: the heads that turn Monday into Tuesday, and one into two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.induction.passes.successor import written_logits
from headcount.results import HeadScores, InputError
from headcount.tracing import BatchSize, Model, provenance
from headcount.tracing.internal import check_added_to_stream

ORDINALS: Mapping[str, Sequence[str]] = {
    "days": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Monday"),
    "months": (
        *("January", "February", "March", "April", "May", "June", "July"),
        *("August", "September", "October", "November", "December", "January"),
    ),
    "numbers": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    "places": ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    "numerals": tuple(map(str, range(1, 101))),
    "letters": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}
"""Words in their order; a first word that comes again at the end makes the order a circle."""

LEAST = 3
"""The fewest words with a successor among single tokens for a sequence to count."""


class Ordinal(NamedTuple):
    """One sequence of ordinal tokens.

    Attributes:
        tokens: Its distinct tokens.
        pairs: The places of a token and of its successor among them.
    """

    tokens: list[int]
    pairs: list[tuple[int, int]]


def successor(
    model: Model, sequences: Mapping[str, Sequence[str]] | None = None, *, batch_size: BatchSize = "auto"
) -> HeadScores:
    """Score every head by succession: attending to an ordinal, it raises the next one above all of its sequence.

    The score is the share of the ordinals, days, months, numbers, places, numerals and letters, of which the head's
    effective OV circuit ranks the successor first among all ordinals of the same sequence, itself included. The
    circuit goes from the embedding after the first feed-forward network (attention adds nothing but its bias), through
    the layer's norm, W_V, W_O and the final norm's gain, to the logits. Heads of the first layer, which no network
    precedes, read the embedding. Words that are no single token are left out.

    Args:
        model: The model; it needs a tokenizer. Removed parts (`masked`) play no role.
        sequences: Words in their order in place of these, by name; a first word that is the last too closes a circle.
        batch_size: Tokens run together; "auto" fits it to the machine. It does not change the scores.

    Returns:
        The share, 0 to 1, with the variance over ordinals. `extras` holds the shares of which the `predecessor` or the
        ordinal `itself` is first. `provenance["chance"]` is the share of a guess.

    Raises:
        InputError: The model has no tokenizer, or no sequence has three words that are single tokens with a successor;
            or what a head adds does not reach the logits as a sum.

    Source: Gould et al. 2023 (arXiv 2312.09230).
    """
    check_added_to_stream(model)
    ordinals = {name: _ordinal(model, words) for name, words in (sequences or ORDINALS).items()}
    ordinals = {name: ordinal for name, ordinal in ordinals.items() if len(ordinal.pairs) >= LEAST}
    if not ordinals:
        raise InputError(
            f"the tokenizer of {model.name} has no sequence of {LEAST} ordinals that are single tokens: expected "
            f"sequences of words, such as {{'days': ['Monday', 'Tuesday', ...]}}"
        )
    parts = [_hits(model, ordinal, batch_size) for ordinal in ordinals.values()]
    succeeds, precedes, repeats = (torch.cat(shares) for shares in zip(*parts, strict=True))
    counts = {name: len(ordinal.pairs) for name, ordinal in ordinals.items()}
    chance = sum(len(ordinal.pairs) / len(ordinal.tokens) for ordinal in ordinals.values()) / sum(counts.values())
    return HeadScores(
        succeeds.mean(0),
        variance=succeeds.var(0),
        n=len(succeeds),
        measure="successor",
        definition="share of ordinals whose successor the head raises most of their sequence",
        extras={"predecessor": precedes.mean(0), "itself": repeats.mean(0)},
        provenance=provenance(model, ordinals=counts, chance=chance),
    )


def _hits(model: Model, ordinal: Ordinal, batch_size: BatchSize) -> tuple[Float[Tensor, "ordinal layer head"], ...]:
    """Return 1 where the successor, the predecessor, or the ordinal itself is first, else 0; NaN for no head."""
    logits = written_logits(model, torch.tensor(ordinal.tokens), batch_size)
    best, absent = logits.topk(2), logits.isnan().any(-1)
    # A head that raises several alike, such as one that writes nothing, raises none of them first.
    first = best.indices[..., 0].where(best.values[..., 0] > best.values[..., 1], -1)
    predecessor = {after: before for before, after in ordinal.pairs}

    def is_first(before: int, place: int | None) -> Tensor:
        hit = torch.full(first.shape[1:], 0.0) if place is None else (first[before] == place).float()
        return hit.masked_fill(absent[before], torch.nan)

    columns = [(before, after, predecessor.get(before), before) for before, after in ordinal.pairs]
    return tuple(torch.stack([is_first(column[0], column[which]) for column in columns]) for which in (1, 2, 3))


def _ordinal(model: Model, words: Sequence[str]) -> Ordinal:
    """Return the words that are single tokens, in the form, after a space or not, in which most of them are."""
    forms = [[_token(model, f"{space}{word}") for word in words] for space in (" ", "")]
    ids = max(forms, key=lambda form: sum(token is not None for token in form))
    tokens = list(dict.fromkeys(token for token in ids if token is not None))
    pairs = [
        (tokens.index(before), tokens.index(after))
        for before, after in pairwise(ids)
        if before is not None and after is not None and before != after
    ]
    return Ordinal(tokens, list(dict.fromkeys(pairs)))


def _token(model: Model, text: str) -> int | None:
    """Return the single token of a text; None if it has several.

    Raises:
        InputError: There is no tokenizer.
    """
    ids = model.to_tokens(text, prepend_bos=False)[0].tolist() if model.tokenizer is not None else []
    if model.tokenizer is None:
        model.to_tokens(text)  # which says that there is none
    return ids[0] if len(ids) == 1 else None
