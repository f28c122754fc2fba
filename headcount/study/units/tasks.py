"""Units of measurements on a task: accuracy, importance of heads and of feed-forward networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from headcount import importance
from headcount.importance.internal import (
    HUB,
    Profile,
    RankSplit,
    TaskSetup,
    accuracy_work,
    check_rows_folder,
    ffn_importance_work,
    head_importance_work,
    n_parts,
    with_ablation,
)
from headcount.progress import Progress, say
from headcount.results import Accuracy, ExpertScores, HeadScores, LayerScores, ResultName
from headcount.results.internal import scored_part
from headcount.study.unit import Unit
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind


def load_setups(
    names: Iterable[str],
    shots: Iterable[int],
    limit: int | None,
    data: str | None,
    profile: Profile,
    seed: int,
    splits: Sequence[str] = ("scored", "train"),
    *,
    keep_bos: bool = False,
) -> list[TaskSetup]:
    """Load every task at every number of shots; errors in them are found here, before a model is loaded.

    Args:
        names: The tasks.
        shots: Numbers of shots.
        limit: The number of documents or examples, at most.
        data: The source of their rows: a folder, "hub", or None.
        profile: The form of their prompts.
        seed: Seed of the shots.
        splits: The rows that are needed: "scored" for documents, "train" for examples.
        keep_bos: True keeps BOS in front of contexts that are cut.

    Raises:
        InputError: A task is unknown, or its rows are missing or too few.
    """
    if data is not None and data != HUB:  # a wrong folder is refused even for word lists, which need no rows
        check_rows_folder(Path(data))
    names = list(names)
    tasks = {name: importance.load_task(name, profile, data, keep_bos=keep_bos) for name in dict.fromkeys(names)}
    setups = [TaskSetup(tasks[name], count, limit, seed) for name, count in product(names, shots)]
    for setup, split in product({setup.name: setup for setup in setups}.values(), splits):
        setup.task.examples(setup.shots, 1, split, seed)
    return setups


def accuracy_unit(model: Model, setup: TaskSetup) -> Unit:
    """Return the unit of the whole model's accuracy, without which importance on the task cannot be interpreted."""

    def measure(progress: Progress) -> tuple[Accuracy]:
        accuracy = importance.accuracy(
            model, setup.task, setup.shots, setup.limit, seed=setup.seed, progress=progress.advance
        )
        n = len(accuracy.gold_log_p)
        _say_cut(setup, accuracy.cut, n, "documents")
        _say_merged(setup, accuracy.merged, n, f"documents (first: row {accuracy.first_merged})")
        if accuracy.ties:
            say(f"{setup.name}: in {accuracy.ties} of {n} documents several choices tie exactly; the first one counts")
        return (accuracy,)

    return Unit(
        f"accuracy, {setup.name}",
        (str(ResultName.accuracy(setup.setting)),),
        setup.identity,
        setup.documents,
        measure,
        work=lambda: accuracy_work(model, setup),
        group=setup.name,
    )


def head_unit(
    model: Model,
    setup: TaskSetup,
    method: str,
    reduction: str,
    ablation: AblationKind = "zero",
    steps: int = 1,
    share: float = 0.2,
) -> Unit:
    """Return the unit of every head's importance for a task; see `head_importance` for the settings."""
    more = ({"steps": steps} if steps > 1 else {}) | ({"share": share} if method == "verified" else {})
    return _scores_unit(model, setup, method, reduction, "heads", ablation, more)


def expert_unit(model: Model, setup: TaskSetup, method: str, reduction: str) -> Unit:
    """Return the unit of every expert's importance for a task.

    Raises:
        InputError: The model has no mixture of experts.
    """
    n_parts(model, "experts")  # raises if there are none
    return _scores_unit(model, setup, method, reduction, "experts")


def _scores_unit(
    model: Model,
    setup: TaskSetup,
    method: str,
    reduction: str,
    part: Literal["heads", "experts"],
    ablation: AblationKind = "zero",
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Unit:
    name = scored_part(part, method, reduction, ablation, **more)
    settings = {"method": method} | ({"reduction": reduction} if method == "gradient" else {}) | dict(more)

    def measure(progress: Progress) -> tuple[HeadScores | ExpertScores]:
        task = setup.task
        examples = task.examples(setup.shots, setup.limit, seed=setup.seed)
        options: dict[str, Any] = {"encoding": task.encoding, "progress": progress.advance, **more}
        if ablation != "zero":
            reference = examples if ablation == "patch" else task.reference(setup.shots, seed=setup.seed)
            options |= {"kind": ablation, "reference": reference, "seed": setup.seed}
        measured = importance.head_importance if part == "heads" else importance.expert_importance
        scores: HeadScores | ExpertScores = measured(model, examples, method, reduction, **options)
        _say_cut(setup, scores.provenance["cut"], scores.n, "examples")
        _say_merged(setup, scores.provenance["merged"], scores.n, "examples")
        return (replace(scores, provenance=scores.provenance | setup.provenance),)

    return Unit(
        f"{part}, {setup.name}{ablation_title(ablation)}",
        (str(ResultName.importance(name, setup.setting, ablation)),),
        setup.identity | settings | ablation_settings(ablation),
        setup.examples,
        measure,
        work=lambda: with_ablation(head_importance_work(model, setup, method, **more), model, setup, ablation),
        group=setup.name,
    )


def ablation_title(ablation: AblationKind) -> str:
    """Return the words on a kind of ablation in a unit's title; none for zeros."""
    return "" if ablation == "zero" else f", {ablation} ablation"


def ablation_settings(ablation: AblationKind) -> dict[str, Any]:
    """Return the entries that the provenance of a result by a kind of ablation must have; none for zeros."""
    return {} if ablation == "zero" else {"ablation": {"kind": ablation}}


def ffn_unit(model: Model, setup: TaskSetup, rank_split: RankSplit = None, ablation: AblationKind = "zero") -> Unit:
    """Return the unit of every feed-forward network's importance for a task, by a kind of ablation."""

    def measure(progress: Progress) -> tuple[LayerScores]:
        scores = importance.ffn_importance(
            model,
            setup.task,
            setup.shots,
            setup.limit,
            rank_split=rank_split,
            kind=ablation,
            seed=setup.seed,
            progress=progress.advance,
        )
        return (scores,)

    return Unit(
        f"FFNs, {setup.name}{ablation_title(ablation)}",
        (str(ResultName.importance("ffns", setup.setting, ablation)),),
        setup.identity | {"rank_split": rank_split} | ablation_settings(ablation),
        setup.examples if rank_split else setup.documents,
        measure,
        work=lambda: with_ablation(ffn_importance_work(model, setup, rank_split), model, setup, ablation),
        group=setup.name,
    )


def _say_merged(setup: TaskSetup, merged: int, n: int, items: str) -> None:
    if merged:
        say(
            f"{setup.name}: of {merged} of {n} {items} only a part of the continuation is scored: the tokenizer joins "
            "its beginning with the end of the context"
        )


def _say_cut(setup: TaskSetup, cut: int, n: int, items: str) -> None:
    if cut:
        say(f"{setup.name}: {cut} of {n} {items} are longer than the model's context and were cut from the left")
