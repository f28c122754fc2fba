"""What a unit of work puts through a model: passes over items, each of a known kind and length.

A unit says which passes it needs; how many operations, bytes and seconds they take follows from the model's shape and
the hardware (`headcount.planning.costs`).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

from headcount.importance.likelihoods.evaluation import ask, encoded
from headcount.importance.likelihoods.prefix_tree import Tree, grow
from headcount.importance.likelihoods.score import forest
from headcount.importance.measure import RankSplit
from headcount.tracing import Model

if TYPE_CHECKING:
    from headcount.study.measure import Setting

SAMPLE = 30
"""Documents whose lengths stand for all, in turn."""


class Kind(StrEnum):
    """What a pass does."""

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
        pos: Tokens.
        logits: Places whose logits are taken.
        requests: Continuations that are scored.
        pairs: Entries taken of every pattern.
        branched: Whether it is a tree, which needs a mask.
    """

    pos: int
    logits: int = 0
    requests: int = 0
    pairs: int = 0
    branched: bool = False


@dataclass(frozen=True, eq=False)
class Items:
    """Sequences that are run together; the same ones are batched once.

    Attributes:
        items: One each.
        batch_size: Sequences a batch, where that is fixed.
    """

    items: tuple[Item, ...]
    batch_size: int | None = None


@dataclass(frozen=True)
class Pass:
    """Some items through the model, whole or without some parts.

    Attributes:
        kind: What is done.
        items: With what.
        heads: Heads that are taken out before.
        networks: Feed-forward networks that are taken out before.
        copy: Whether a second model with random weights is made for it.
        key: Passes of one key are run once, and remembered; None is run each time.
    """

    kind: Kind
    items: Items
    heads: int = 0
    networks: int = 0
    copy: bool = False
    key: Hashable = field(default=None)


Work = Callable[[], Sequence[Pass]]


def nothing() -> tuple[Pass, ...]:
    """The work of a unit that runs no model."""
    return ()


@lru_cache(maxsize=1024)
def documents_of(model: Model, setting: "Setting", rank_split: RankSplit = None) -> Items:
    """A setting's documents as they are scored."""
    task, n = (setting.task.of_pool(), setting.examples) if rank_split else (setting.task, setting.documents)
    few = ask(model, task, setting.shots, min(n, SAMPLE), setting.seed).tokens
    return _repeated([_of_tree(tree) for _, tree in forest(model, few)], n * len(forest(model, few)) / len(few))


@lru_cache(maxsize=1024)
def examples_of(model: Model, setting: "Setting") -> Items:
    """A setting's examples as gradients are taken on them."""
    n = setting.examples
    few = setting.task.examples(setting.shots, min(n, SAMPLE), seed=setting.seed)
    return _repeated([_of_tree(grow([one])) for one in encoded(model, few, setting.task.encoding)], n)


def sequences_of(lengths: Sequence[int], pairs: Sequence[int] | None = None, *, logits: bool = False) -> Items:
    """Sequences of random tokens, with the entries of patterns that are taken, or with all logits, one at a time."""
    taken = pairs if pairs is not None else [0] * len(lengths)
    items = (Item(pos, pos * logits, 0, of_one) for pos, of_one in zip(lengths, taken, strict=True))
    return Items(tuple(items), 1 if logits else None)


def _of_tree(tree: Tree) -> Item:
    places = {place for read in tree.read for place in read}
    return Item(len(tree.ids), len(places), len(tree.targets), branched=len(set(tree.branch) - {0}) > 1)


def _repeated(items: Sequence[Item], n: float) -> Items:
    return Items(tuple(islice(cycle(items), round(n))))
