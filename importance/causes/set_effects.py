"""Accuracy without sets of heads, each beside random sets that are matched to it by layer."""

from collections.abc import Mapping, Sequence

import torch

from headcount.importance.ablation.ablated import Reference, ablation_record
from headcount.importance.causes.head_sets import Heads, head_sets, matched_heads
from headcount.importance.evaluation import Answers, encode_task
from headcount.importance.pruning.prune import answers_with
from headcount.importance.pruning.pruned_answers import Removal, parts_of
from headcount.importance.tasks.task import Task
from headcount.results import HeadScores, InputError, SetEffects
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing.internal import AblationKind

PERCENTS = (2, 5, 10, 20)
RANDOM_SETS = 10


def set_effects(
    model: Model,
    task: Task,
    kinds: Mapping[str, HeadScores],
    percents: Sequence[float] = PERCENTS,
    *,
    random_seeds: Sequence[int] = tuple(range(RANDOM_SETS)),
    kind: AblationKind = "zero",
    reference: Reference = None,
    shots: int = 5,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> SetEffects:
    """Measure a task without the highest heads of every kind, and without random heads of the same layers.

    Each kind's highest heads are removed together; once more without those that are among the highest of another kind.
    A kind that a task needs costs more than random sets with as many heads in each layer; one that only goes along with
    another costs no more once the other's heads are left out.

    Args:
        model: The whole model.
        task: From `load_task`.
        kinds: Scores of heads by kind, such as `{"induction": scores.prefix_matching, "importance": importance}`.
        percents: The shares of heads that count as the highest.
        random_seeds: Seeds of the random sets, two or more: one set each for every set of a kind.
        kind: The kind of ablation; see `ablated`.
        reference: The reference examples of `mean` and `resample`; `task.reference(shots)` if left out.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots, and of the draws of `resample`.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Returns:
        Answers to every document without each set, and without the random sets matched to it.

    Raises:
        InputError: An argument is out of range, or scores do not fit the model.

    Source: the comparison of Yin and Steinhardt 2025 (induction heads and function-vector heads), with sets matched by
    layer and further kinds.
    """
    if len(random_seeds) < 2 or len(set(random_seeds)) < len(random_seeds):
        raise InputError(f"random_seeds must be two whole numbers or more, each once, not {random_seeds!r:.80}")
    for number in random_seeds:
        checks.check_seed(number)
    encoded = encode_task(model, task, shots, limit, seed)
    answers = answers_with(model, encoded, kind, reference, batch_size, progress)
    exists = heads_of(model)
    sets = head_sets(kinds, percents, exists)
    whole = answers.without(Removal())
    draws = [[chosen.heads, *(matched_heads(chosen.heads, exists, seed) for seed in random_seeds)] for chosen in sets]
    table = [[answers.without(removal_of(heads)) for heads in row] for row in draws]
    return SetEffects(
        kinds=tuple(chosen.kind for chosen in sets),
        percents=tuple(chosen.percent for chosen in sets),
        without_others=tuple(chosen.without_others for chosen in sets),
        heads=torch.stack([chosen.heads.float() for chosen in sets]),
        **{name: torch.stack([_stacked(row, name) for row in table]) for name in ("correct", "greedy", "gold_log_p")},
        whole_correct=whole.correct,
        whole_greedy=whole.greedy,
        whole_gold_log_p=whole.gold_log_p,
        provenance=encoded.provenance(
            model,
            **ablation_record(answers.replacement),
            percents=list(map(float, percents)),
            random_seeds=list(random_seeds),
            kinds={kind: f"{scores.measure}, {scores.definition}" for kind, scores in kinds.items()},
        ),
    )


def heads_of(model: Model) -> Heads:
    """Return True for heads that a model has: a layer may have none."""
    exists = torch.zeros(model.sizes.n_layers * model.sizes.n_heads, dtype=torch.bool)
    exists[parts_of(model, "heads")] = True
    return exists.view(model.sizes.n_layers, model.sizes.n_heads)


def removal_of(heads: Heads) -> Removal:
    """Return the removal of a set of heads."""
    return Removal(heads=tuple(heads.flatten().nonzero().flatten().tolist()))


def _stacked(row: Sequence[Answers], name: str) -> torch.Tensor:
    return torch.stack([getattr(answers, name) for answers in row])
