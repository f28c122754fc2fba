"""Things that may be done with one model, and those that may not, with the reasons; a part of the doctor."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Literal, NamedTuple

from headcount.induction.internal import check_eigenvalues
from headcount.planning import Shape
from headcount.results import InputError
from headcount.tracing import Model, pruned
from headcount.tracing.internal import check_cut, check_without_weights

Offered = Literal["yes", "partly", "no"]


class Offer(NamedTuple):
    """One thing that may be done with a model.

    Attributes:
        what: The thing.
        offered: If it is offered: `yes`, `partly` or `no`.
        result: Its extent; what is missing, and why.
    """

    what: str
    offered: Offered
    result: str


def offers(model: Model) -> list[Offer]:
    """Return what is offered of a model in memory."""
    return [
        _heads(model),
        *_hooks(model),
        _experts(model),
        _scoring(model),
        _padding(model),
        _unless_refused(
            "eigenvalue copying", "from the weights, beside copying from the outputs", lambda: check_eigenvalues(model)
        ),
        _single_heads(model),
        _unless_refused(
            "pruned", "heads, KV groups and networks are cut from the weights", lambda: _check_prune(model)
        ),
        _unless_refused(
            "streamed, planned, on a server",
            "with the weights elsewhere; the type is described"
            if not model.derived
            else "with the weights elsewhere; a narrow stand-in of the model was tried",
            lambda: _check_without_memory(model),
        ),
    ]


def _heads(model: Model) -> Offer:
    s, layers = model.sizes, model.layers_with_heads
    text = f"{s.n_heads} in each of {len(layers)} layer{'' if len(layers) == 1 else 's'}"
    if not model.variant.groups_alike:
        text += ", in KV groups whose number differs from layer to layer (not removed as a unit)"
    elif s.n_kv_heads != s.n_heads:
        text += f", in {s.n_kv_heads} KV groups"
    text += ": patterns, scores, importance by gradients and by removal, masks, curves"
    if missing := sorted(set(range(s.n_layers)) - set(layers)):
        return Offer("heads", "partly", f"{text}; none in {layer_names(missing)}, whose scores are n/a")
    return Offer("heads", "yes", text)


def _hooks(model: Model) -> list[Offer]:
    """Return the hooks that are absent, by reason; those of layers without heads are told by the heads."""
    absent: dict[str, tuple[dict[str, None], set[int]]] = {}
    for name, message in model.hooks.lost.items():
        layer, hook = _in_block(name)
        no_heads = layer is not None and layer not in model.layers_with_heads
        if hook in ("mlp.hook_router", "mlp.hook_expert_out") or (no_heads and hook.startswith("attn.")):
            continue
        names, layers = absent.setdefault(message.partition(": ")[2] or message, ({}, set()))
        names[hook] = None
        layers.update(() if layer is None else (layer,))
    if not absent:
        return [Offer("hooks", "yes", f"all of docs/hooks.md, {len(model.hooks)} in number")]
    every = set(range(model.sizes.n_layers))
    return [
        Offer(
            "hooks", "partly", f"no {', '.join(names)}{'' if layers in (set(), every) else _inside(layers)}: {reason}"
        )
        for reason, (names, layers) in absent.items()
    ]


def _in_block(name: str) -> tuple[int | None, str]:
    """Return the layer of a hook name, if it has one, and the rest of it."""
    if not name.startswith("blocks."):
        return None, name
    _, layer, hook = name.split(".", 2)
    return int(layer), hook


def _inside(layers: Iterable[int]) -> str:
    return f" in {layer_names(layers)}"


def layer_names(layers: Iterable[int]) -> str:
    """Return layers in words: `layers 0, 2 to 5`."""
    ordered = sorted(layers)
    runs = [[layer for _, layer in run] for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])]
    names = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"layer{'' if len(ordered) == 1 else 's'} {', '.join(names)}"


def _experts(model: Model) -> Offer:
    layers, n_experts = model.anatomy.layers_with_experts(), model.sizes.n_experts
    if not layers:
        return Offer("experts", "no", "no mixture of experts, or one whose experts cannot be told apart")
    text = f"{n_experts} in {layer_names(layers)}: mlp.hook_router, masks, importance, curves"
    return Offer("experts", "yes" if len(layers) == model.sizes.n_layers else "partly", text)


def _scoring(model: Model) -> Offer:
    if model.shares_rows:
        return Offer("one row for a document", "yes", "continuations of one context are scored in one row")
    reason = (
        "in one row they would not have the logits that each has alone: each is a row of its own, which takes longer"
    )
    return Offer("one row for a document", "no", reason)


def _padding(model: Model) -> Offer:
    missing = [side for side in ("left", "right") if side not in model.padding]
    if not missing:
        return Offer("padded batches", "yes", "on either side, with attention_mask=")
    reason = f"not on the {' and '.join(missing)}: there padding would change the numbers"
    return Offer("padded batches", "partly" if len(missing) == 1 else "no", reason)


def _single_heads(model: Model) -> Offer:
    gated = [layer for layer in model.layers_with_heads if model.paths(layer).gated]
    if not gated:
        return Offer("head cards", "yes", "patterns, distances and the logits that a head writes")
    reason = "without the logits that a head writes: a gate that depends on the text multiplies them"
    reason += _inside(gated)
    return Offer("head cards", "partly", reason)


def _check_without_memory(model: Model) -> None:
    """Refuse what cannot be opened without its weights; its costs are those of its layers."""
    check_without_weights(model)
    Shape.of(model)


def _check_prune(model: Model) -> None:
    if model.pruned is not None:
        raise InputError("its parts were pruned already")
    check_cut(model)
    if model.derived:  # those of one KV group, and the network of a layer, stand for all
        layer, in_group = model.layers_with_heads[-1], model.sizes.n_heads // model.sizes.n_kv_heads
        pruned(model, heads=[(layer, head) for head in range(in_group)], ffns=[layer])


def _unless_refused(what: str, result: str, check: Callable[[], None]) -> Offer:
    try:
        check()
    except InputError as error:
        return Offer(what, "no", str(error))
    return Offer(what, "yes", result)
