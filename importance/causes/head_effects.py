"""Verdicts on single heads: each removed alone, beside others of its layer, and together with those of its kind."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.ablation.ablated import Reference, ablation_record
from headcount.importance.attribution.ablation_path import AblationPath
from headcount.importance.attribution.estimates import drops_without_each
from headcount.importance.causes.head_sets import HeadSet, head_sets
from headcount.importance.causes.set_effects import heads_of, removal_of
from headcount.importance.evaluation import EncodedTask, encode_task
from headcount.importance.pruning.prune import answers_with
from headcount.importance.pruning.pruned_answers import PrunedAnswers
from headcount.importance.tasks.task import Task
from headcount.results import HeadScores, Table
from headcount.stats import compare
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing.internal import AblationKind, Replacement

MATCHED = 10
"""Other heads of its layer beside which a head's removal is set, at most."""


def head_verdicts(
    model: Model,
    task: Task,
    kinds: Mapping[str, HeadScores],
    percent: float = 5,
    *,
    kind: AblationKind = "zero",
    reference: Reference = None,
    shots: int = 5,
    limit: int | None = None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> Table:
    """Return a verdict on each of the highest heads of every kind: needed, or only going along.

    By the fall of the gold log-probability, paired by document. Each head is removed alone, and set beside the removals
    of up to ten other heads of its layer that no kind names; and it is removed after all others of its kind.

    Args:
        model: The whole model.
        task: From `load_task`.
        kinds: Scores of heads by kind.
        percent: The share of heads that count as the highest of a kind.
        kind: The kind of ablation; see `ablated`.
        reference: The reference examples of `mean` and `resample`; `task.reference(shots)` if left out.
        shots: Solved examples in front of each document.
        limit: Documents at most.
        seed: Seed of the shots, of the other heads, and of the draws of `resample`.
        batch_size: Documents run together.
        progress: Called after each batch with the number of documents in it.

    Returns:
        A table, one row a kind and head: `kind`, `layer`, `head`, `score` (the kind's), `verdict`, and for `alone`,
        `beyond` and `within` (see `headcount.stats.compare.head_verdicts`) the mean in nats, `_low` and `_high`, the
        bounds of its 95 % interval, and `_p`, corrected over all rows.

    Raises:
        InputError: An argument is out of range, or scores do not fit the model.
    """
    encoded = encode_task(model, task, shots, limit, seed)
    exists = heads_of(model)
    sets = [chosen for chosen in head_sets(kinds, [percent], exists) if not chosen.without_others]
    named = torch.stack([chosen.heads for chosen in sets]).any(0)
    rows = [(chosen, layer, head) for chosen in sets for layer, head in chosen.heads.nonzero().tolist()]
    answers = answers_with(model, encoded, kind, reference, batch_size, progress)
    drops = _drops_alone(model, encoded, answers.replacement, batch_size, progress)
    verdicts = compare.head_verdicts(
        torch.stack([drops[:, layer, head] for _, layer, head in rows], 1).numpy(),
        torch.stack([_matched(drops, exists, named, layer, head, seed) for _, layer, head in rows], 1).numpy(),
        torch.stack([_within(answers, chosen, layer, head) for chosen, layer, head in rows], 1).numpy(),
    )
    records = []
    for (chosen, layer, head), result in zip(rows, verdicts, strict=True):
        record = {"kind": chosen.kind, "layer": layer, "head": head}
        record |= {"score": float(kinds[chosen.kind].values[layer, head]), "verdict": result.verdict}
        for name in ("alone", "beyond", "within"):
            effect = getattr(result, name)
            record |= {name: effect.mean, f"{name}_low": effect.low, f"{name}_high": effect.high}
            record[f"{name}_p"] = effect.p
        records.append(record)
    return Table.of(
        records,
        "verdicts on the highest heads of each kind, by the fall of the gold log-probability in nats",
        **encoded.provenance(model, percent=float(percent), matched=MATCHED, **ablation_record(answers.replacement)),
    )


def _drops_alone(
    model: Model,
    encoded: EncodedTask,
    replacement: Replacement | None,
    batch_size: BatchSize,
    progress: Progress | None,
) -> Float[Tensor, "document layer head"]:
    """Return the fall of the log-probability of each document's (first) right continuation without each head."""
    pairs = zip(encoded.documents, encoded.requests, strict=True)
    gold = [requests[document.gold[0]] for document, requests in pairs]
    path = AblationPath("head", replacement=replacement)
    return drops_without_each(model, gold, path, batch_size, progress).double()


def _matched(
    drops: Float[Tensor, "document layer head"],
    exists: Tensor,
    named: Tensor,
    layer: int,
    head: int,
    seed: int,
) -> Float[Tensor, " document"]:
    """Return the mean fall without each of some other heads of a layer: those that no kind names, if there are any."""
    others = exists[layer].clone()
    others[head] = False
    candidates = (others & ~named[layer]) if (others & ~named[layer]).any() else others
    numbers = candidates.nonzero().flatten()
    if not len(numbers):  # a layer of one head: nothing stands beside it
        return torch.zeros(len(drops), dtype=drops.dtype)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    return drops[:, layer, numbers[order[:MATCHED]]].mean(1)


def _within(answers: PrunedAnswers, chosen: HeadSet, layer: int, head: int) -> Float[Tensor, " document"]:
    """Return the further fall when a head is removed after all others of its kind."""
    rest = chosen.heads.clone()
    rest[layer, head] = False
    before, after = (answers.without(removal_of(heads)).gold_log_p for heads in (rest, chosen.heads))
    return (before - after).double()
