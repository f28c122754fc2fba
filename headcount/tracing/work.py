"""The work of a measurement: the passes that it runs through a model, each of a known kind and length.

Each measurement states its passes beside itself (`induction.work`, `importance.work`); what they cost in operations,
bytes and seconds follows from the model's shape and the hardware (`planning.costs`).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Kinds of passes."""

    FORWARD = "forward"
    GRADIENTS = "gradients"
    FFN_ORACLE = "FFN oracle"
    HEAD_ORACLE = "head oracle"
    PREFIX = "prefix matching"
    COPYING = "copying"
    LOSS = "loss"


class Item(NamedTuple):
    """A sequence that goes through the model.

    Attributes:
        pos: The number of tokens.
        logits: The number of places whose logits are taken.
        requests: The number of continuations that are scored.
        pairs: The number of entries taken of every pattern.
        branched: True for a tree, which needs a mask.
    """

    pos: int
    logits: int = 0
    requests: int = 0
    pairs: int = 0
    branched: bool = False


@dataclass(frozen=True, eq=False)
class Items:
    """Sequences that are run together; passes that share an `Items` share its batches.

    Attributes:
        items: The sequences.
        batch_size: The number of sequences a batch, if it is fixed.
    """

    items: tuple[Item, ...]
    batch_size: int | None = None


@dataclass(frozen=True)
class ModelPass:
    """Items that are run through the model, whole or without some parts.

    Attributes:
        kind: The kind of pass.
        items: The sequences.
        heads: The number of heads that are pruned before.
        networks: The number of feed-forward networks that are pruned before.
        copy: True if a second model with random weights is made for it.
        key: Passes of one key are run once, and their results reused; None is run each time.
    """

    kind: Kind
    items: Items
    heads: int = 0
    networks: int = 0
    copy: bool = False
    key: Hashable = field(default=None)


Work = Callable[[], Sequence[ModelPass]]


def no_work() -> tuple[ModelPass, ...]:
    """Return no passes: the work of a unit that runs no model."""
    return ()
