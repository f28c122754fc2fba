"""The work of measurements on tasks: the passes that each puts through a model (see `tracing.work`)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import cycle, islice

from headcount.importance.evaluation import encode_examples, encode_task
from headcount.importance.likelihoods.prefix_tree import PrefixTree, build_tree
from headcount.importance.likelihoods.tree_passes import document_trees
from headcount.importance.measure import RankSplit
from headcount.importance.tasks.setup import TaskSetup
from headcount.importance.tasks.task import REFERENCE
from headcount.tracing import Model
from headcount.tracing.internal import AblationKind, Item, Items, Kind, ModelPass

SAMPLE = 30
"""Documents whose lengths stand for all, in turn."""


def accuracy_work(model: Model, setup: TaskSetup) -> tuple[ModelPass, ...]:
    """Return the work of `accuracy`."""
    return (ModelPass(Kind.FORWARD, document_items(model, setup)),)


def head_importance_work(
    model: Model, setup: TaskSetup, method: str, steps: int = 1, share: float = 1.0
) -> tuple[ModelPass, ...]:
    """Return the work of `head_importance`.

    Several steps are passes from every layer on; heads that are verified count as their share of the examples.
    """
    items = example_items(model, setup)
    if method == "oracle":
        return (ModelPass(Kind.HEAD_ORACLE, items),)
    passes = 1.0 if steps == 1 else steps * (model.sizes.n_layers + 1) / 2
    n = len(items.items)
    gradients = ModelPass(Kind.GRADIENTS, items if passes == 1 else _repeated(items.items, passes * n))
    if method == "gradient":
        return (gradients,)
    return gradients, ModelPass(Kind.HEAD_ORACLE, _repeated(items.items, max(1, share * n)))


def ffn_importance_work(model: Model, setup: TaskSetup, rank_split: RankSplit = None) -> tuple[ModelPass, ...]:
    """Return the work of `ffn_importance`."""
    return (ModelPass(Kind.FFN_ORACLE, document_items(model, setup, rank_split)),)


def with_ablation(
    passes: Sequence[ModelPass], model: Model, setup: TaskSetup, ablation: AblationKind
) -> tuple[ModelPass, ...]:
    """Return passes with those that a kind of ablation adds, once for all passes of the setup.

    Means need one over the reference examples; with values of other prompts every pass needs one over these.
    """
    if ablation == "zero":
        return tuple(passes)
    own = [replace(each, key=each.key and (each.key, ablation)) for each in passes]
    if ablation == "mean":
        examples = example_items(model, replace(setup, limit=REFERENCE))
        return (ModelPass(Kind.FORWARD, examples, key=(setup.name, "reference")), *own)
    others = [ModelPass(Kind.FORWARD, each.items, key=each.key and (each.key, "other")) for each in own]
    return tuple(each for pair in zip(others, own, strict=True) for each in pair)


def function_vector_work(model: Model, setup: TaskSetup, method: str) -> tuple[ModelPass, ...]:
    """Return the work of `function_vector_heads`; for `patch` as if each head's branch were a whole prompt."""
    kind = Kind.GRADIENTS if method == "gradient" else Kind.HEAD_ORACLE
    items = example_items(model, setup)
    return (ModelPass(Kind.FORWARD, items), ModelPass(kind, items))


def gates_work(model: Model, setup: TaskSetup, n_seeds: int, steps: int, batch_size: int = 8) -> tuple[ModelPass, ...]:
    """Return the work of `causal_gates`: a mean, and three stages of steps for each seed."""
    items = example_items(model, setup)
    drawn = _repeated(items.items, 3 * steps * n_seeds * batch_size)
    return (ModelPass(Kind.FORWARD, items), ModelPass(Kind.GRADIENTS, Items(drawn.items, batch_size)))


@lru_cache(maxsize=1024)
def document_items(model: Model, setup: TaskSetup, rank_split: RankSplit = None) -> Items:
    """Return a task's documents as they are scored; the lengths of the first ones stand for all."""
    task, n = (setup.task.of_pool(), setup.examples) if rank_split else (setup.task, setup.documents)
    sample = encode_task(model, task, setup.shots, min(n, SAMPLE), setup.seed).requests
    trees = document_trees(model, sample)
    return _repeated([_tree_item(tree) for _, tree in trees], n * len(trees) / len(sample))


@lru_cache(maxsize=1024)
def example_items(model: Model, setup: TaskSetup) -> Items:
    """Return a task's examples as gradients are taken on them; the lengths of the first ones stand for all."""
    n = setup.examples
    sample = setup.task.examples(setup.shots, min(n, SAMPLE), seed=setup.seed)
    requests = encode_examples(model, sample, setup.task.encoding)
    return _repeated([_tree_item(build_tree([request])) for request in requests], n)


def _tree_item(tree: PrefixTree) -> Item:
    places = {place for predicting in tree.predict_at for place in predicting}
    return Item(len(tree.ids), len(places), len(tree.targets), branched=tree.forks)


def _repeated(items: Sequence[Item], n: float) -> Items:
    return Items(tuple(islice(cycle(items), round(n))))
