"""Function-vector heads: heads whose mean output at the end of a task's prompts makes a model do the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.ablation.reference import reference_means
from headcount.importance.attribution.function_vector_passes import estimated_effects, patched_effects
from headcount.importance.attribution.gradients import FOLDS
from headcount.importance.documents import Example
from headcount.importance.evaluation import bos_record, encode_examples
from headcount.importance.measure import LOSS_SCALE
from headcount.importance.tasks.task import Task
from headcount.results import HeadScores, InputError
from headcount.results.internal import checks
from headcount.stats import compare
from headcount.tracing import BatchSize, Model, Progress, provenance

Method = Literal["gradient", "patch"]


def function_vector_heads(
    model: Model,
    tasks: Task | Sequence[Task],
    shots: int = 5,
    method: str = "gradient",
    n: int = 40,
    *,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> HeadScores:
    """Score every head by how well its mean output on a task's prompts restores the task where shots do not show it.

    z̄ is the mean of a head's z at the last token of prompts of the task. The effect of the head on a prompt whose shots
    have their answers shuffled is p(gold | z ← z̄ at the last token) - p(gold), p the probability of the whole
    continuation. Prompts for z̄ and prompts with shuffled answers are different rows of the pool (every other one), so
    that z̄ does not hold the answers.

    * `patch`: each head's z is really replaced. The last token is one branch for each head, the prompt is read once for
      all heads of a layer, and layers below are not computed again.
    * `gradient`: (z̄ - z) · ∇p(gold) at the last token, the first-order change of the probability: one forward and one
      backward pass. The gradient of log p, which weighs prompts of small p alike, agrees less with patching.

    Args:
        model: The model; parts that are removed at present stay removed.
        tasks: Tasks from `load_task`, or one.
        shots: Solved examples in front of each prompt: 2 or more, since one answer cannot be shuffled.
        method: `gradient` or `patch`.
        n: The number of prompts with shuffled answers, and of prompts for z̄, in each task; at most half of its pool.
        seed: Seed of the shots and of the shuffled answers.
        batch_size: Prompts run together; "auto" fits it to the machine. It does not change the scores.
        progress: Called with the number of prompts done since the last call; those for z̄ count as well.

    Returns:
        Of one task the mean effect with variance over prompts and folds. Of several the mean over tasks, with variance
        over tasks, folds, and the effect and its standard error in each task in `extras` (`antonym`, `antonym_stderr`).

    Raises:
        InputError: An argument is unknown or out of range, no task is given, two have one name, or shuffling changes no
            answer.

    Source: Todd et al. 2024, "Function Vectors in Large Language Models"; Yin & Steinhardt 2025 (arXiv 2502.14010).
    """
    listed = [tasks] if isinstance(tasks, Task) else list(tasks)
    checks.check_one_of("method", method, get_args(Method))
    checks.check_count("n", n)
    if not listed or len({task.name for task in listed}) < len(listed):
        raise InputError(f"tasks: expected one task or more, each once, got {[task.name for task in listed]}")
    prompts = {task.name: _prompts(task, shots, n, seed) for task in listed}  # errors come before anything is run
    by_task = {
        task.name: _of_task(model, task, *prompts[task.name], shots, method, seed, batch_size, progress)
        for task in listed
    }
    if len(listed) == 1:
        return by_task[listed[0].name]
    extras = {name: scores.values for name, scores in by_task.items()}
    extras |= {f"{name}_stderr": scores.stderr for name, scores in by_task.items() if scores.stderr is not None}
    return replace(compare.aggregate(by_task), extras=extras)


def _prompts(task: Task, shots: int, n: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Return the prompts for z̄, and those with shuffled answers: every other row of the pool."""
    examples = task.examples(shots, 2 * n, seed=seed)
    shuffled = [example for example in examples[1::2] if example.counterfactual is not None]
    if not shuffled:
        raise InputError(
            f"{task.name} has no prompts with shuffled answers: expected 2 shots or more with different answers, and 2 "
            f"rows or more in its pool, got {shots} shots and {len(examples)} rows"
        )
    return examples[::2], [Example(str(example.counterfactual), example.continuation) for example in shuffled]


def _of_task(
    model: Model,
    task: Task,
    reference: Sequence[Example],
    shuffled: Sequence[Example],
    shots: int,
    method: str,
    seed: int,
    batch_size: BatchSize,
    progress: Progress | None,
) -> HeadScores:
    """Return the effects of all heads in one task."""
    whole, requests = (encode_examples(model, prompts, task.encoding) for prompts in (reference, shuffled))
    means = reference_means(model, whole, "last", batch_size, progress).heads
    scale = LOSS_SCALE.get(model.dtype, 1.0)
    if method == "patch":
        effects = patched_effects(model, requests, means, batch_size, progress)
    else:
        effects = estimated_effects(model, requests, means, scale, batch_size, progress)
    settings: dict[str, Any] = {
        "task": task.name,
        "profile": task.profile,
        "encoding": task.encoding,
        "source": task.source,
        "shots": shots,
        "seed": seed,
        "method": method,
        "effect": "probability" if method == "patch" else "probability, first order",
        "reference": "z at the last token, mean over prompts of other rows",
        "n_reference": len(reference),
        "n_examples": len(requests),
        "loss_scale": scale,
        "cut": sum(request.cut > 0 for request in requests),
        "merged": sum(request.merged for request in requests),
        **bos_record(model, requests),
    }
    return _head_scores(effects, method, provenance(model, **settings))


def _head_scores(effects: Float[Tensor, "example layer head"], method: str, record: dict[str, Any]) -> HeadScores:
    n = len(effects)
    return HeadScores(
        effects.mean(0),
        variance=effects.var(0) if n > 1 else None,
        n=n,
        folds=torch.stack([effects[fold::FOLDS].mean(0) for fold in range(min(FOLDS, n))]),
        measure="function_vector_effect",
        definition=method,
        provenance=record,
    )
