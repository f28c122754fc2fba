"""The prompts on which the attention of every head is recorded: tokens that repeat, and a text."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Int
from torch import Tensor

from headcount.induction.tokens import sequences
from headcount.induction.tokens.sampling import model_token_pool
from headcount.results import InputError
from headcount.tracing import Model

LONGEST = 48
"""Tokens at most: patterns grow with their square."""

PERIOD, REPEATS = 8, 3

TEXT = (
    "Anna Keller found a blue door behind the old mill. When Tom asked about the key, Anna Keller said that "
    "the blue door behind the old mill had none."
)
"""A name and a phrase come twice, so that a head can attend to what followed them before."""


def repeated_prompt(model: Model, seed: int) -> Int[Tensor, "1 pos"]:
    """Return random tokens that repeat: the prompt on which induction is seen most clearly.

    Raises:
        InputError: The model has no tokenizer to draw from, or too short a context.
    """
    row = sequences.repeat_sequence(model_token_pool(model).ids, PERIOD, seed, 0, model.bos, REPEATS)
    return model.check_tokens(row[None])


def text_prompt(model: Model, seed: int = 0) -> Int[Tensor, "1 pos"]:
    """Return `TEXT` as tokens, after BOS; its beginning, if it is too long.

    Raises:
        InputError: The model has no tokenizer.
    """
    ids = model.to_tokens(TEXT, prepend_bos=True if model.bos is not None else None)
    return model.check_tokens(ids[:, : min(LONGEST, model.sizes.context)])


PROMPTS: Mapping[str, tuple[str, Callable[[Model, int], Int[Tensor, "1 pos"]]]] = MappingProxyType(
    {
        "repeated": (f"{PERIOD} random tokens, said {REPEATS} times", repeated_prompt),
        "text": ("an English text with a name and a phrase that come twice", text_prompt),
    }
)


def prompt(model: Model, name: str, seed: int = 0) -> Int[Tensor, "1 pos"]:
    """Return the tokens of a prompt.

    Args:
        model: The model that reads it.
        name: One of `PROMPTS`: `repeated` or `text`.
        seed: Seed of the random tokens.

    Raises:
        InputError: There is no such prompt, or the model cannot read it.
    """
    if name not in PROMPTS:
        raise InputError(f"expected a prompt's name, one of {', '.join(PROMPTS)}, got {name!r}")
    return PROMPTS[name][1](model, seed)
