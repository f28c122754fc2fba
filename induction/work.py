"""The work of induction measurements: the passes that each puts through a model (see `tracing.work`)."""

import warnings
from collections.abc import Sequence

from headcount.induction.atlas.detectors import every_detector
from headcount.induction.atlas.measure import CONTROL_SEQUENCES, evenly
from headcount.induction.formulas.prefix_matching import REPEATS, pattern_entries
from headcount.induction.measure import LOSS_PERIOD
from headcount.induction.paths import PERIOD
from headcount.induction.tokens import prompts, sampling
from headcount.induction.tokens.texts import Texts, text_rows
from headcount.tracing import Model
from headcount.tracing.internal import Item, Items, Kind, ModelPass


def score_heads_work(
    model: Model, n_sequences: int, prefix_definition: str = "successor", *, copy: bool = False
) -> tuple[ModelPass, ...]:
    """Return the work of `score_heads`: prefix matching and copying on the sequences that fit.

    Args:
        model: The model; no weights are needed.
        n_sequences: As for `score_heads`.
        prefix_definition: As for `score_heads`.
        copy: True if a second model with random weights is made for it.
    """
    with warnings.catch_warnings(action="ignore"):  # `score_heads` itself warns of what is left out
        chosen = sampling.spread_sequences(model, sampling.model_token_pool(model), n_sequences)
    bos = model.bos is not None
    periods = [sequence.period for sequence in chosen]
    lengths = [REPEATS * period + bos for period in periods]
    pairs = [len(pattern_entries(period, bos, prefix_definition).query) for period in periods]
    return (
        ModelPass(Kind.PREFIX, _sequences(lengths, pairs), copy=copy),
        ModelPass(Kind.COPYING, _sequences(lengths), copy=copy),
    )


def atlas_work(model: Model, n_sequences: int, texts: Texts, *, control: bool) -> tuple[ModelPass, ...]:
    """Return about the work of `head_atlas`: passes of prefix matching that take an entry of each query a detector."""
    with warnings.catch_warnings(action="ignore"):
        chosen = sampling.spread_sequences(model, sampling.model_token_pool(model), n_sequences)
    bos, detectors = model.bos is not None, len(every_detector())
    kinds = [[REPEATS * period + bos for _, period in chosen], [len(row) for row in text_rows(model, texts)]]
    passes = [(lengths, False) for lengths in kinds]
    passes += [(evenly(lengths, CONTROL_SEQUENCES), True) for lengths in kinds if control]
    return tuple(
        ModelPass(Kind.PREFIX, _sequences(lengths, [detectors * length for length in lengths]), copy=copy)
        for lengths, copy in passes
    )


def repeat_loss_work(model: Model, n_sequences: int) -> tuple[ModelPass, ...]:
    """Return the work of `repeat_loss`."""
    length = REPEATS * LOSS_PERIOD + (model.bos is not None)
    items = Items(tuple(Item(length, logits=length) for _ in range(n_sequences)), batch_size=1)
    return (ModelPass(Kind.LOSS, items),)


def patterns_work(model: Model, prompt: str, seed: int) -> tuple[ModelPass, ...]:
    """Return the work of `record_patterns` on a prompt: as prefix matching, it ends at the last layer's attention."""
    length = prompts.LONGEST if model.tokenizer is None else prompts.prompt(model, prompt, seed).shape[1]
    return (ModelPass(Kind.PREFIX, _sequences([length])),)


def feeding_heads_work(model: Model, layer: int, n_sequences: int, path: str) -> tuple[ModelPass, ...]:
    """Return about the work of `feeding_heads` for a head of a layer, in passes of prefix matching.

    For each earlier layer every sequence is run once for each head, and once more: through the layers to the head's, or
    (`direct`) through the attention of two layers, about half a block.
    """
    earlier = [other for other in model.layers_with_heads if other < layer]
    blocks = sum(layer - other if path == "total" else 0.5 for other in earlier)
    passes = n_sequences * (1 + (model.sizes.n_heads + 1) * blocks / model.sizes.n_layers)
    return (ModelPass(Kind.PREFIX, _sequences([REPEATS * PERIOD + (model.bos is not None)] * round(passes))),)


def _sequences(lengths: Sequence[int], pairs: Sequence[int] | None = None) -> Items:
    """Return sequences of random tokens, with the number of entries that are taken of each pattern."""
    counts = pairs if pairs is not None else [0] * len(lengths)
    return Items(tuple(Item(pos, pairs=count) for pos, count in zip(lengths, counts, strict=True)))
