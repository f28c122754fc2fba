"""Units of induction measurements: scores of heads, their control with random weights, loss by repeat, attention."""

from typing import Any

from headcount import induction
from headcount.induction.internal import N_PERIODS, patterns_work, prompts, repeat_loss_work, score_heads_work
from headcount.progress import Progress
from headcount.results import HeadScores, InputError, Patterns, RepeatLoss, ResultName
from headcount.results.internal import SCORES
from headcount.study.unit import ImpossibleError, Unit
from headcount.tracing import Model, randomised
from headcount.tracing.internal import weights_aside

CONTROL_SEQUENCES = 10
"""Sequences of the control at most: random weights differ little from sequence to sequence."""
LOSS_SEQUENCES = 20
"""Sequences of the loss by repeat at most."""


def induction_units(
    model: Model, n_sequences: int, seed: int, *, control: bool, prefix_definition: str = "successor"
) -> list[Unit]:
    """Return the units of the `induction` command: scores, loss by repeat, attention, and the control."""
    units = [
        scores_unit(model, n_sequences, seed, prefix_definition),
        repeat_loss_unit(model, n_sequences, seed),
        *(attention_unit(model, prompt, seed) for prompt in prompts.PROMPTS),
    ]
    if control and model.in_memory:
        units.append(control_unit(model, n_sequences, seed, prefix_definition))
    return units


def scores_unit(model: Model, n_sequences: int, seed: int, prefix_definition: str) -> Unit:
    """Return the unit of prefix matching and copying."""

    def measure(progress: Progress) -> tuple[HeadScores, ...]:
        return _scores(model, n_sequences, seed, prefix_definition, progress)

    return Unit(
        "prefix matching and copying",
        tuple(str(ResultName.induction(score)) for score in SCORES),
        _settings(n_sequences, seed, prefix_definition),
        2 * n_sequences,
        measure,
        work=lambda: score_heads_work(model, n_sequences, prefix_definition),
    )


def control_unit(model: Model, n_sequences: int, seed: int, prefix_definition: str) -> Unit:
    """Return the unit of prefix matching and copying with random weights, the control."""
    n_sequences = min(n_sequences, CONTROL_SEQUENCES)

    def measure(progress: Progress) -> tuple[HeadScores, ...]:
        with weights_aside(model.hf):
            return _scores(randomised(model, seed), n_sequences, seed, prefix_definition, progress)

    return Unit(
        "the same with random weights",
        tuple(str(ResultName.control(score)) for score in SCORES),
        _settings(n_sequences, seed, prefix_definition),
        2 * n_sequences,
        measure,
        work=lambda: score_heads_work(model, n_sequences, prefix_definition, copy=True),
    )


def repeat_loss_unit(model: Model, n_sequences: int, seed: int) -> Unit:
    """Return the unit of the loss by repeat."""
    n_sequences = min(n_sequences, LOSS_SEQUENCES)

    def measure(progress: Progress) -> tuple[RepeatLoss]:
        return (induction.repeat_loss(model, n_sequences, seed, progress=progress.advance),)

    return Unit(
        "loss by repeat",
        (str(ResultName.induction("repeat_loss")),),
        {"seed": seed},
        n_sequences,
        measure,
        work=lambda: repeat_loss_work(model, n_sequences),
    )


def attention_unit(model: Model, prompt: str, seed: int) -> Unit:
    """Return the unit of every head's attention on a prompt, which needs a tokenizer."""
    definition, _ = prompts.PROMPTS[prompt]
    settings = {"prompt": prompt, "seed": seed}

    def measure(progress: Progress) -> tuple[Patterns]:
        if model.tokenizer is None:
            raise ImpossibleError(f"{model.name} has no tokenizer to write the prompt with")
        tokens = prompts.prompt(model, prompt, seed)
        try:
            patterns = induction.record_patterns(model, tokens, definition, **settings)
        except InputError as error:  # NaN, which cannot be stored in 256 levels
            raise ImpossibleError(str(error)) from error
        progress.advance(1)
        return (patterns,)

    return Unit(
        f"attention of every head, {prompt}",
        (str(ResultName.attention(prompt)),),
        settings,
        1,
        measure,
        work=lambda: patterns_work(model, prompt, seed),
    )


def _settings(n_sequences: int, seed: int, prefix_definition: str) -> dict[str, Any]:
    # A hundred sequences are the paper's in every version; fewer were its shortest ones before.
    lengths = {"lengths": "spread"} if n_sequences != N_PERIODS else {}
    return {"seed": seed, "n_sequences": n_sequences, "prefix_definition": prefix_definition, **lengths}


def _scores(
    model: Model, n_sequences: int, seed: int, prefix_definition: str, progress: Progress
) -> tuple[HeadScores, ...]:
    """The scores in the order of `SCORES`."""
    scores = induction.score_heads(
        model, n_sequences, seed, prefix_definition=prefix_definition, progress=progress.advance
    )
    return scores.prefix_matching, scores.copying, scores.copying_published
