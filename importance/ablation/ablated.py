"""Ablation of heads and feed-forward networks for a run, by zeros or by values from reference examples."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from headcount.importance.ablation.reference import counterfactual_requests, reference_means, resampled
from headcount.importance.documents import Example
from headcount.importance.evaluation import EncodedTask, encode_examples
from headcount.importance.likelihoods.encoding import EncodedRequest, Encoding
from headcount.results import InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model, Progress
from headcount.tracing import pruned as cut
from headcount.tracing.internal import AblationKind, Replacement, Row, replaced

Reference = Sequence[Example] | Replacement | None
"""Reference examples; or what `replacement_from` made of them; None for the kind `zero`."""


@contextmanager
def ablated(
    model: Model,
    heads: Any = None,
    ffns: Any = None,
    *,
    kv_groups: Any = None,
    kind: AblationKind = "zero",
    reference: Reference = None,
    seed: int = 0,
    encoding: Encoding = "joint",
) -> Iterator[Model]:
    """Run a model with other values in the place of some parts' outputs.

    Every call of `model` inside the block, in this thread, has them: of a head in the place of its output before W_O,
    of a feed-forward network in the place of what it adds to the residual stream.

    * `zero`: zeros, as `masked`;
    * `mean`: the mean over all positions of the reference examples, at every position;
    * `resample`: the value at the same position of another reference example of the same length (see
      `headcount.importance.ablation.reference.resampled`), the same in every run with this seed;
    * `patch`: the value at the same position of the prompt with its shots' answers shuffled. The prompts that are run
      must be among the reference examples, with any continuation.

    Values are those of the model as it is around the block: without the parts that outer blocks remove. With `resample`
    and `patch` every run costs two, the continuations of a context are run one by one, and measurements on random
    tokens are refused. Blocks nest; a part in several of them has the value of the inner one.

    Args:
        model: The model; it does not change, and other threads run it whole.
        heads: Boolean mask [layer, head], True where ablated; or pairs [(layer, head), ...], as from `scores.top(3)`.
        ffns: Boolean mask [layer], True where ablated; or layers.
        kv_groups: KV groups, as heads: all heads that share a group's keys and values are ablated.
        kind: One of the four.
        reference: Examples, best ones that are not measured: `task.reference(shots)`. For `patch` those that are.
        seed: Seed of the draws of `resample`.
        encoding: The way in which the reference becomes tokens; `task.encoding` for a task's examples.

    Raises:
        InputError: As `masked`; the kind is unknown, has no reference or needs none, or an example does not fit it.

    Source: zero and mean ablation as in Michel et al. 2019; resampling as in Chan et al. 2022 (causal scrubbing);
    patching as in Wang et al. 2023.
    """
    replacement = replacement_from(model, kind, reference, seed=seed, encoding=encoding)
    with replaced(model, heads, ffns, replacement, kv_groups=kv_groups):
        yield model


def pruned(
    model: Model,
    heads: Any = None,
    ffns: Any = None,
    *,
    kv_groups: Any = None,
    kind: AblationKind = "zero",
    reference: Reference = None,
    encoding: Encoding = "joint",
) -> Model:
    """Return a model from whose weights parts are taken out: the logits of `ablated`, at less cost.

    See `headcount.tracing.ablation.pruned.pruned` for the parts that go and what the smaller model offers. With means,
    W_O · z̄ of every removed head is added to W_O's bias, and a feed-forward network's mean stays in its place.

    Args:
        model: The model; parts that are removed at present (`masked`) go as well, by zeros.
        heads: As for `ablated`.
        ffns: As for `ablated`.
        kv_groups: As for `ablated`.
        kind: `zero` or `mean`.
        reference: As for `ablated`.
        encoding: As for `ablated`.

    Raises:
        InputError: As `ablated`; the weights cannot be cut, or the kind is another one: its values differ by prompt.
    """
    if kind in ("resample", "patch"):
        raise InputError(f"kind={kind!r} has other values for every prompt, and weights hold one: use ablated")
    replacement = replacement_from(model, kind, reference, encoding=encoding)
    return cut(model, heads, ffns, kv_groups=kv_groups, replacement=replacement)


def replacement_from(
    model: Model,
    kind: AblationKind,
    reference: Reference,
    *,
    seed: int = 0,
    encoding: Encoding = "joint",
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
    measured: Sequence[Example] = (),
) -> Replacement | None:
    """Return the values of a kind of ablation from reference examples, to be used as `reference=` many times.

    Args:
        model: The model; means are those of the model as it is now.
        kind: The kind of ablation.
        reference: As for `ablated`.
        seed: As for `ablated`.
        encoding: As for `ablated`.
        batch_size: Examples run together.
        progress: Called after each batch with the number of examples in it.
        measured: The examples that are measured; the number of those that are reference examples too is recorded.

    Returns:
        The values; None for the kind `zero`.

    Raises:
        InputError: As `ablated`.
    """
    checks.check_one_of("kind", kind, get_args(AblationKind))
    checks.check_seed(seed)
    if kind == "zero":
        if reference is not None:
            raise InputError("kind='zero' needs no reference: leave it out, or pass kind='mean'")
        return None
    if isinstance(reference, Replacement):
        if reference.kind != kind:
            raise InputError(f"the reference was made for kind={reference.kind!r}, not {kind!r}: make it again")
        return reference
    if not reference:
        raise InputError(f"kind={kind!r} needs reference=, examples such as task.reference(shots=5)")
    requests = encode_examples(model, reference, encoding)
    known: dict[str, Any] = {"kind": kind, "reference": {"n": len(requests), "digest": _digest(requests)}}
    if measured:
        both = {example.context for example in measured} & {example.context for example in reference}
        known["reference"]["also_measured"] = len(both)
    if kind == "mean":
        heads, ffns = reference_means(model, requests, batch_size=batch_size, progress=progress)
        return Replacement(kind, heads, ffns, record=known)
    if kind == "patch":
        shuffled = counterfactual_requests(model, reference, encoding)
        return Replacement(kind, rows=_patched_rows(requests, shuffled), record=known)
    rows = [request.ids[:-1] for request in requests]
    return Replacement(kind, rows=lambda run: resampled(run, rows, seed), record=known | {"seed": seed})


def task_replacement(
    model: Model, encoded: EncodedTask, kind: AblationKind, reference: Reference, batch_size: BatchSize = "auto"
) -> Replacement | None:
    """Return the values of a kind of ablation for a task's documents.

    Args:
        model: The model.
        encoded: The documents.
        kind: The kind of ablation.
        reference: As for `ablated`; None takes the end of the task's pool at the documents' shots and seed, and for
            `patch` the documents themselves.
        batch_size: Examples run together.

    Raises:
        InputError: As `ablated`; or the task has no train rows.
    """
    task, shots, seed = encoded.task, encoded.settings["shots"], encoded.settings["seed"]
    requests = [request for document in encoded.documents for request in document.requests]
    if reference is None and kind != "zero":
        reference = requests if kind == "patch" else task.reference(shots, seed=seed)
    return replacement_from(
        model, kind, reference, seed=seed, encoding=task.encoding, batch_size=batch_size, measured=requests
    )


def ablation_record(replacement: Replacement | None) -> dict[str, Any]:
    """Return the entry of a result's provenance on its kind of ablation; none for zeros, as it was without kinds."""
    return {} if replacement is None else {"ablation": replacement.record}


def ablation_title(replacement: Replacement | None) -> str:
    """Return the words on the kind of ablation in a result's definition: `, mean ablation`."""
    return "" if replacement is None else f", {replacement.kind} ablation"


def _digest(requests: Sequence[EncodedRequest]) -> str:
    """Return a digest of reference examples as tokens; their order does not count."""
    text = str(sorted((request.ids, request.start) for request in requests))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _patched_rows(
    requests: Sequence[EncodedRequest], shuffled: Sequence[EncodedRequest]
) -> Callable[[Sequence[Row]], list[Row]]:
    """Return the function that puts counterfactual contexts in front of the continuations of rows."""
    contexts = {
        request.ids[: request.start]: other.ids[: other.start]
        for request, other in zip(requests, shuffled, strict=True)
    }
    lengths = sorted({len(context) for context in contexts}, reverse=True)

    def patched(row: Row) -> Row:
        for length in lengths:
            if (other := contexts.get(row[:length])) is not None:
                return other + row[length:]
        raise InputError(
            f"a prompt of {len(row)} tokens is not among the {len(requests)} reference examples: with kind='patch' "
            "reference= must hold the prompts that are run"
        )

    return lambda rows: [patched(row) for row in rows]
