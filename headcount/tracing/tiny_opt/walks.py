"""In-context successor walks: the text that the tiny OPT is trained on.

Each sequence has a ring of distinct tokens, drawn anew, so a token's successor can only be known from an earlier place
in the same sequence. The walk goes round the ring and sometimes jumps to a random place of it. The jumps matter: a
text that only repeats with a period can be continued by "the token seen least recently", which needs no induction head.
"""

import dataclasses

import torch
from jaxtyping import Bool, Int
from torch import Tensor

BOS = 2  # OPT's `</s>`
FIRST_TOKEN = 4  # the ids below are special tokens
VOCABULARY = 512
JUMP = 0.15  # probability that a step jumps to a random place of the ring
PAIRS = 0.25  # share of sequences that are key, value, key, value, ...: they jump after every value, to a random key


@dataclasses.dataclass(frozen=True)
class Walks:
    """A batch of walks.

    Attributes:
        tokens: BOS and then the walk.
        taught: True where the *next* token is the ring's successor, and has followed this token before.
    """

    tokens: Int[Tensor, "batch pos"]
    taught: Bool[Tensor, "batch pos"]

    def __post_init__(self) -> None:
        if self.tokens.shape != self.taught.shape:
            raise ValueError(f"tokens {tuple(self.tokens.shape)} and taught {tuple(self.taught.shape)} differ in shape")


def draw_walks(batch: int, length: int, sizes: tuple[int, int], generator: torch.Generator) -> Walks:
    """Draw a batch of successor walks.

    Args:
        batch: The number of sequences.
        length: The number of tokens a sequence, BOS not counted.
        sizes: The smallest and largest number of distinct tokens of a sequence (both included), drawn uniformly.
        generator: Source of all randomness.

    Returns:
        The walks, each `length + 1` tokens long.
    """
    size = torch.randint(sizes[0], sizes[1] + 1, (batch, 1), generator=generator)
    is_pairs = torch.rand(batch, 1, generator=generator) < PAIRS
    size = torch.where(is_pairs, (size + 1) // 2 * 2, size)
    jumps = torch.rand(batch, length, generator=generator) < JUMP
    jumps = torch.where(is_pairs, torch.arange(length) % 2 == 0, jumps)
    jumps[:, 0] = True
    place = _walk(size, jumps, is_pairs, generator)
    tokens = draw_distinct(batch, VOCABULARY - FIRST_TOKEN, generator).gather(1, place)
    steps = place[:, 1:] == (place[:, :-1] + 1) % size
    return Walks(tokens=with_bos(tokens), taught=_taught(place, steps))


def draw_distinct(batch: int, length: int, generator: torch.Generator) -> Int[Tensor, "batch length"]:
    """Draw sequences of distinct ordinary tokens, uniformly and without replacement."""
    order = torch.rand(batch, VOCABULARY - FIRST_TOKEN, generator=generator).argsort(dim=1)
    return order[:, :length] + FIRST_TOKEN


def with_bos(tokens: Int[Tensor, "batch length"]) -> Int[Tensor, "batch pos"]:
    """Put OPT's beginning-of-text token in front."""
    return torch.cat([torch.full((len(tokens), 1), BOS), tokens], dim=1)


def _walk(
    size: Int[Tensor, "batch 1"],
    jumps: Bool[Tensor, "batch length"],
    is_pairs: Bool[Tensor, "batch 1"],
    generator: torch.Generator,
) -> Int[Tensor, "batch length"]:
    """Return the place on the ring at each step: the last jump's landing place plus the steps since."""
    landing = (torch.rand(jumps.shape, generator=generator) * size).long()
    landing = torch.where(is_pairs, landing // 2 * 2, landing)
    steps = torch.arange(jumps.shape[1]).expand_as(jumps)
    last_jump = torch.where(jumps, steps, 0).cummax(dim=1).values
    return (landing.gather(1, last_jump) + steps - last_jump) % size


def _taught(place: Int[Tensor, "batch length"], steps: Bool[Tensor, "batch length-1"]) -> Bool[Tensor, "batch pos"]:
    """Mark the positions (BOS first) whose next token is the ring's successor and has been shown before.

    Args:
        place: The place on the ring at each step.
        steps: True where the next place is the ring's successor.
    """
    same = place[:, :-1, None] == place[:, None, :-1]
    shown = (same & steps[:, None, :]).tril(diagonal=-1).any(dim=2)
    taught = torch.zeros(place.shape[0], place.shape[1] + 1, dtype=torch.bool)
    taught[:, 1:-1] = steps & shown
    return taught
