"""In-context successor walks: the text that the tiny OPT is trained on.

A sequence draws its own ring of distinct tokens, so a token's successor can only be known from an earlier place in the
same sequence. The walk goes round the ring and now and then jumps to a random place of it. The jumps matter: a text that
only repeats with a period can be continued by "the token seen least recently", which needs no induction head.
"""

import dataclasses

import torch
from jaxtyping import Bool, Int
from torch import Tensor

BOS = 2  # OPT's `</s>`
FIRST_TOKEN = 4  # below are the special tokens
VOCABULARY = 512


@dataclasses.dataclass(frozen=True)
class Walks:
    """A batch of walks.

    Attributes:
        tokens: BOS and then the walk.
        taught: where the *next* token is the ring's successor, and this token was followed by it before.
    """

    tokens: Int[Tensor, "batch pos"]
    taught: Bool[Tensor, "batch pos"]

    def __post_init__(self) -> None:
        if self.tokens.shape != self.taught.shape:
            raise ValueError(f"tokens {tuple(self.tokens.shape)} and taught {tuple(self.taught.shape)} differ in shape")


def draw_walks(
    batch: int,
    length: int,
    generator: torch.Generator,
    sizes: tuple[int, int] = (10, 100),
    jump: float = 0.15,
    pairs: float = 0.25,
) -> Walks:
    """Draw a batch of successor walks.

    Args:
        batch: number of sequences.
        length: tokens a sequence, BOS not counted.
        generator: source of all randomness.
        sizes: smallest and largest number of distinct tokens of a sequence (both included), drawn uniformly.
        jump: chance of a step to leave the ring's order for a random place of it.
        pairs: share of sequences that are key, value, key, value, ...: they jump after every value, to a random key.

    Returns:
        The walks, each `length + 1` tokens long.
    """
    size = torch.randint(sizes[0], sizes[1] + 1, (batch, 1), generator=generator)
    is_pairs = torch.rand(batch, 1, generator=generator) < pairs
    size = torch.where(is_pairs, (size + 1) // 2 * 2, size)
    jumps = torch.rand(batch, length, generator=generator) < jump
    jumps = torch.where(is_pairs, torch.arange(length) % 2 == 0, jumps)
    jumps[:, 0] = True
    place = _walk(size, jumps, is_pairs, generator)
    keeps = place[:, 1:] == (place[:, :-1] + 1) % size
    ring = torch.rand(batch, VOCABULARY - FIRST_TOKEN, generator=generator).argsort(dim=1) + FIRST_TOKEN
    tokens = torch.cat([torch.full((batch, 1), BOS), ring.gather(1, place)], dim=1)
    return Walks(tokens=tokens, taught=_taught(place, keeps))


def _walk(
    size: Int[Tensor, "batch 1"],
    jumps: Bool[Tensor, "batch step"],
    is_pairs: Bool[Tensor, "batch 1"],
    generator: torch.Generator,
) -> Int[Tensor, "batch step"]:
    """Return the place on the ring at each step: the last jump's landing place plus the steps since."""
    landing = (torch.rand(jumps.shape, generator=generator) * size).long()
    landing = torch.where(is_pairs, landing // 2 * 2, landing)
    steps = torch.arange(jumps.shape[1]).expand_as(jumps)
    last_jump = torch.where(jumps, steps, 0).cummax(dim=1).values
    return (landing.gather(1, last_jump) + steps - last_jump) % size


def _taught(place, keeps):
    batch, length = place.shape
    same = place[:, :-1, None] == place[:, None, :-1]
    shown = (same & keeps[:, None, :]).tril(diagonal=-1).any(dim=2)
    taught = torch.zeros(batch, length + 1, dtype=torch.bool)
    taught[:, 1:-1] = keeps & shown
    return taught
