"""Units of causes of single heads: function-vector heads, gates on heads, the heads that feed one head, composition."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from headcount import importance, induction
from headcount.importance.internal import TaskSetup, function_vector_work, gates_work
from headcount.induction.internal import feeding_heads_work
from headcount.progress import Progress
from headcount.results import HeadScores, PairScores, ResultName
from headcount.study.unit import Unit
from headcount.tracing import Model

ROLES = ("facilitating", "irrelevant", "interfering")
"""The roles that gates give to heads, in the order of `CausalGates`."""


def function_vector_unit(model: Model, setup: TaskSetup, method: Literal["gradient", "patch"]) -> Unit:
    """Return the unit of the function-vector effect of every head in a task.

    The setup's limit is that of the prompts with shuffled answers, and that of the prompts for the mean.
    """
    n = setup.examples

    def measure(progress: Progress) -> tuple[HeadScores]:
        scores = importance.function_vector_heads(
            model, setup.task, setup.shots, method, n, seed=setup.seed, progress=progress.advance
        )
        return (replace(scores, provenance=scores.provenance | setup.provenance),)

    return Unit(
        f"function-vector heads, {setup.name}",
        (str(ResultName.importance("function-vectors", setup.setting)),),
        setup.identity | {"method": method},
        2 * n,
        measure,
        work=lambda: function_vector_work(model, setup, method),
        group=setup.name,
    )


def gates_unit(
    model: Model,
    setup: TaskSetup,
    ablation: Literal["mean", "zero"],
    seeds: Sequence[int] = (0, 1),
    steps: int = 100,
    strength: float = 0.003,
) -> Unit:
    """Return the unit of the three roles of every head in a task, by gates; arguments as of `causal_gates`."""

    def measure(progress: Progress) -> tuple[HeadScores, ...]:
        task = setup.task
        gates = importance.causal_gates(
            model,
            task.examples(setup.shots, setup.limit, seed=setup.seed),
            tuple(seeds),
            steps,
            strength,
            ablation,
            encoding=task.encoding,
            progress=progress.advance,
        )
        maps = [getattr(gates, role) for role in ROLES]
        return tuple(replace(scores, provenance=scores.provenance | setup.provenance) for scores in maps)

    return Unit(
        f"gates on heads, {setup.name}",
        tuple(str(ResultName.importance(f"gates-{role}", setup.setting, ablation)) for role in ROLES),
        setup.identity | {"ablation": ablation, "seeds": list(seeds), "steps": steps, "strength": strength},
        3 * steps * len(seeds),
        measure,
        work=lambda: gates_work(model, setup, len(seeds), steps),
        group=setup.name,
    )


def paths_unit(
    model: Model,
    head: tuple[int, int],
    on: Literal["key", "query", "value"],
    path: Literal["direct", "total"],
    n_sequences: int,
    seed: int,
) -> Unit:
    """Return the unit of the earlier heads that feed a head; arguments as of `feeding_heads`."""
    layer, place = head

    def measure(progress: Progress) -> tuple[HeadScores]:
        return (
            induction.feeding_heads(
                model, head, on, path, n_sequences=n_sequences, seed=seed, progress=progress.advance
            ),
        )

    return Unit(
        f"heads that feed L{layer}H{place}",
        (str(ResultName.paths(layer, place, on, path)),),
        {"head": [layer, place], "on": on, "path": path, "n_sequences": n_sequences, "seed": seed},
        n_sequences,
        measure,
        work=lambda: feeding_heads_work(model, layer, n_sequences, path),
    )


def composition_unit(model: Model, kind: Literal["K", "Q", "V"]) -> Unit:
    """Return the unit of the composition of all pairs of heads, which reads the weights and runs nothing."""

    def measure(progress: Progress) -> tuple[PairScores]:
        return (induction.composition(model, kind, progress=progress.advance),)

    return Unit(
        f"{kind}-composition of all pairs of heads",
        (str(ResultName.composition(kind)),),
        {"kind": kind},
        len(model.layers_with_heads),
        measure,
    )
