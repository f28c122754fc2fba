"""Scores of what heads write, together, under the names that they have in a head atlas."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from jaxtyping import Int
from torch import Tensor

from headcount.induction.copy_suppression import copy_suppression
from headcount.induction.retrieval import retrieval
from headcount.induction.successor import successor
from headcount.results import HeadScores, InputError
from headcount.tracing import Model, randomised

TEXTS = 8
"""Sequences of text that copy suppression is measured on, at most: each takes unembeddings in every layer."""

NEEDLES = 10
"""Sequences that retrieval is measured on."""


def written_scores(
    model: Model, text: Sequence[Int[Tensor, " pos"]], *, seed: int = 0, control: bool = True
) -> dict[str, HeadScores]:
    """Score every head by copy suppression, succession and retrieval, and the same with random weights.

    A score that has no meaning for the model, or that its tokenizer has no words for, is left out with a warning.

    Args:
        model: The model.
        text: Sequences of natural text as tokens, of which eight are taken, evenly spread.
        seed: Seed of the random tokens and of the random weights.
        control: True also scores the same architecture with random weights, where the weights are in memory.

    Returns:
        Scores by the names that `HeadAtlas.with_scores` takes: `on_text/copy_suppression`, `successor` and `retrieval`,
        and the same with `control/` in front.
    """
    rows = [text[round(place * (len(text) - 1) / (TEXTS - 1))] for place in range(TEXTS)] if len(text) > TEXTS else text
    models = {"": model} | ({"control/": randomised(model, seed)} if control and model.in_memory else {})
    scores: dict[str, HeadScores] = {}
    for prefix, of_model in models.items():
        measures: dict[str, Callable[[Model], HeadScores]] = {
            "on_text/copy_suppression": lambda scored: copy_suppression(scored, rows),
            "successor": successor,
            "retrieval": lambda scored: retrieval(scored, NEEDLES, seed),
        }
        for name, measure in measures.items():
            try:
                with warnings.catch_warnings():
                    if prefix:  # that random weights produce nothing is what they are for
                        warnings.simplefilter("ignore")
                    scores[prefix + name] = measure(of_model)
            except InputError as error:
                if not prefix:
                    warnings.warn(f"{name.rpartition('/')[2]} is left out: {error}", stacklevel=2)
    return scores
