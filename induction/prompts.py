"""The prompts on which the attention of every head is recorded: tokens that repeat, and a text."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Int
from torch import Tensor

from headcount.induction import sequences
from headcount.induction.sampling import pool_of
from headcount.results import InputError
from headcount.tracing import Model

LONGEST = 48
"""Tokens at most: patterns grow with their square."""

PERIOD, REPEATS = 8, 3

TEXT = (
    "Anna Keller found a blue door behind the old mill. When Tom asked about the key, Anna Keller said that "
    "the blue door behind the old mill had none."
)
"""A name and a phrase come twice, so that what followed them can be looked up."""


def repeated(model: Model, seed: int) -> Int[Tensor, "1 pos"]:
    """Random tokens that repeat: the prompt in which an induction head shows itself most clearly.

    Raises:
        InputError: The model has no tokenizer to draw from, or too short a context.
    """
    row = sequences.repeat_sequence(pool_of(model).ids, PERIOD, seed, 0, model.bos, REPEATS)
    return model.check_tokens(row[None])


def text(model: Model, seed: int = 0) -> Int[Tensor, "1 pos"]:
    """A few words of English in which a name and a phrase come twice, after BOS; the beginning, if they are too long.

    Raises:
        InputError: The model has no tokenizer.
    """
    ids = model.to_tokens(TEXT, prepend_bos=True if model.bos is not None else None)
    return model.check_tokens(ids[:, : min(LONGEST, model.sizes.context)])


PROMPTS: Mapping[str, tuple[str, Callable[[Model, int], Int[Tensor, "1 pos"]]]] = MappingProxyType(
    {
        "repeated": (f"{PERIOD} random tokens, said {REPEATS} times", repeated),
        "text": ("an English text with a name and a phrase that come twice", text),
    }
)


def prompt(model: Model, name: str, seed: int = 0) -> Int[Tensor, "1 pos"]:
    """The tokens of a prompt.

    Args:
        model: The model that is to read it.
        name: One of `PROMPTS`: `repeated` or `text`.
        seed: Seed of the random tokens.

    Raises:
        InputError: There is no such prompt, or the model cannot read it.
    """
    if name not in PROMPTS:
        raise InputError(f"expected a prompt's name, one of {', '.join(PROMPTS)}, got {name!r}")
    return PROMPTS[name][1](model, seed)
