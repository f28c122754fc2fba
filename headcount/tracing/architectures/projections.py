"""Projections of one block, found by what flows through them: those of attention and of the feed-forward network."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from headcount.results import InputError
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.own_attention import CaughtAttention
from headcount.tracing.architectures.recording import AttentionRecord, ModuleCall, record, replaced, same, tolerance
from headcount.tracing.architectures.views import View, expert_outputs, fused_views

OWN_ATTENTION = (
    "it computes attention itself, and not as a softmax over products of queries and keys, times a factor, plus "
    "numbers that do not depend on them"
)
"""The reason why a model's own attention is refused."""

_MASKED = -5e3
"""Scores below this are of masked keys."""


def find_projections(
    outer: Family, root: str, caller: ModuleCall, attend: AttentionRecord, calls: list[ModuleCall]
) -> tuple[Family, tuple[int, int]]:
    """Return the family with the projections of queries, keys and values, and the widths of latent attention.

    Each projection is zeroed in turn; that of the queries is the last that changes the queries, and so on. A projection
    whose output cannot be split into the values that attention averages is left out.
    """
    inside = [call for call in calls if call.name.startswith(f"{caller.name}.") and call.has_matrix]
    last: dict[str, ModuleCall] = {}
    for call in (call for call in inside if call.time < attend.time):
        with replaced(call.module, torch.zeros_like):
            changed = _again(caller, attend)
        if attend.caught is not None and not changed.query.any():
            outer = replace(outer, scale=_scale(caller.module, attend.caught, changed.caught))
        for name in ("query", "key", "value"):
            if not same(getattr(changed, name), getattr(attend, name)):
                last[name] = call
    if attend.caught is not None and not outer.scale:
        raise InputError(OWN_ATTENTION)
    if len(last) < 3:
        return outer, (0, 0)
    query, key, value = (last[name] for name in ("query", "key", "value"))
    paths = [call.name.removeprefix(f"{root}.") for call in (query, key, value)]
    n_heads, groups = attend.query.shape[1], attend.key.shape[1]
    flowing = attend.value.transpose(1, 2)
    if query is key is value:
        return _fused(replace(outer, fused=paths[0]), caller, attend, value), (0, 0)
    of_query = _query_widths(caller, attend, query)
    if of_query is None:
        return outer, (0, 0)
    with_query = replace(outer, query=paths[0], query_widths=of_query)
    if key is value:
        widths = (value.output.shape[-1] // n_heads - flowing.shape[-1], flowing.shape[-1])
        if widths[0] > 0 and _fits(View(n_heads, 1, widths, groups=n_heads), value.output, flowing):
            return replace(with_query, latent=paths[2]), widths
        return outer, (0, 0)
    whole_keys = key.output.shape[-1] == groups * attend.key.shape[-1]
    if len({query.name, key.name, value.name}) == 3 and whole_keys and _fits(View(groups), value.output, flowing):
        return replace(with_query, key=paths[1], value=paths[2]), (0, 0)
    return outer, (0, 0)


def _query_widths(caller: ModuleCall, attend: AttentionRecord, projection: ModuleCall) -> tuple[int, ...] | None:
    """Return the widths of a head's query and of the gate behind it; none if there is no gate.

    None if the projection gives something else: zeros in place of the query must change the queries, and zeros in place
    of the gate must not.
    """
    n_heads, d_head = attend.query.shape[1], attend.query.shape[-1]
    widths = (d_head, projection.output.shape[-1] // n_heads - d_head)
    if widths[1] == 0:
        return ()
    if widths[1] < 0:
        return None
    changes = []
    for part in (0, 1):
        view = View(n_heads, part, widths, groups=n_heads)
        with replaced(projection.module, partial(_with_zeros, view=view)):
            changes.append(not same(_again(caller, attend).query, attend.query))
    return widths if changes == [True, False] else None


def _fused(outer: Family, caller: ModuleCall, attend: AttentionRecord, projection: ModuleCall) -> Family:
    """Return the family with the layout of the one projection of queries, keys and values; without it if none fits.

    Values must be those that attention averages; zeros in place of queries or keys must change these alone.
    """
    n_heads, n_kv_heads, d_head = attend.query.shape[1], attend.key.shape[1], attend.query.shape[-1]
    interleaved = [groups for groups in range(n_kv_heads, 1, -1) if n_kv_heads % groups == 0]
    layouts: list[dict[str, Any]] = [
        {},
        *({"fused_layout": "interleaved", "fused_groups": groups} for groups in interleaved),
    ]
    orders = ("qkv", "qvk", "kqv", "kvq", "vqk", "vkq")
    for family in (replace(outer, fused_order=order, **layout) for order in orders for layout in layouts):
        views = fused_views(family, n_heads, n_kv_heads, d_head)
        if not _fits(views[2], projection.output, attend.value.transpose(1, 2)):
            continue
        changes = []
        for view in views[:2]:
            with replaced(projection.module, partial(_with_zeros, view=view)):
                changed = _again(caller, attend)
            changes.append([not same(getattr(changed, name), getattr(attend, name)) for name in ("query", "key")])
        if changes == [[True, False], [False, True]]:
            return family
    return replace(outer, fused="")


def _with_zeros(raw: Tensor, view: View) -> Tensor:
    return view.write(raw, torch.zeros_like(view.read(raw, 1)), 1)


def _again(caller: ModuleCall, attend: AttentionRecord) -> AttentionRecord:
    """Run an attention module with the same arguments again, and return its attention."""
    own = attend.caught is not None
    recording = record(caller.module, lambda: caller.module(*caller.args, **caller.kwargs), own_attention=own)
    again = recording.attention[0]
    return again.of_groups(attend.key.shape[1]) if own else again


def _scale(module: nn.Module, caught: CaughtAttention, without: CaughtAttention | None) -> float:
    """Return the factor of the products of queries and keys in attention that a model computes itself.

    Args:
        module: The attention module.
        caught: The attention.
        without: The same with queries of zero: scores are then what is added to the products, such as a mask or ALiBi.

    Raises:
        InputError: Scores are not the products, times a factor, plus what is added.
    """
    if without is None or caught.scores is None or without.scores is None:
        return caught.scale
    allowed = (caught.scores > _MASKED) & (without.scores > _MASKED)
    products, change = caught.products()[allowed].double(), (caught.scores - without.scores)[allowed].double()
    factor = float((products * change).sum() / products.square().sum().clamp(min=1e-30))
    # Models compute scores in float32 whatever their own format is, and ALiBi may be larger than the products.
    rounding = max(tolerance(caught.query), 1e-4) * float(caught.scores[allowed].abs().max())
    stated = [value for value in vars(module).values() if isinstance(value, float)]
    usual = (1.0, caught.query.shape[-1] ** -0.5, *stated)
    errors = {known: float((change - known * products).abs().max()) for known in usual}
    known = min(errors, key=errors.__getitem__)
    if errors[known] <= rounding:
        return known
    if float((change - factor * products).abs().max()) > rounding:
        raise InputError(OWN_ATTENTION)
    return factor


def _fits(view: View, raw: Tensor, expected: Tensor) -> bool:
    """Return True if the view of what a projection returns is what attention averages."""
    try:
        return same(view.read(raw, 1), expected)
    except RuntimeError:  # its width cannot be split so
        return False


@dataclass(frozen=True)
class MlpProjections:
    """The modules of a feed-forward network.

    Attributes:
        modules: The modules that are the network.
        paths: Its projections, by the fields of `Family`; empty if it is not one matrix in and one out.
        reads: The network's input.
        width: The width between its projections; 0 if it is not one matrix in and one out.
    """

    modules: tuple[str, ...]
    paths: dict[str, str]
    reads: Tensor = field(default_factory=lambda: torch.empty(0))
    width: int = 0


def find_mlp_projections(calls: list[ModuleCall], core: ModuleCall) -> MlpProjections:
    """Return the projections of the feed-forward network that the module `core` is, or ends."""
    parent = core.name.rpartition(".")[0]
    if core.has_matrix:  # two projections, without a module around them
        beside = [call for call in calls if call.has_matrix and call.name.rpartition(".")[0] == parent]
        before = [call for call in beside if call.time < core.time]
        if not before:
            return MlpProjections((core.name,), {}, core.input)
        return _described(before[-1].input, (before[-1].name, core.name), [before[-1]], core)
    inside = [call for call in calls if call.name.startswith(f"{core.name}.") and call.has_matrix]
    outs = [call for call in inside if same(call.output, core.output)]
    ins = [call for call in inside if same(call.input, core.input) and call not in outs]
    if len(outs) != 1:
        return MlpProjections((core.name,), {}, core.input)
    return _described(core.input, (core.name,), ins, outs[0])


def _described(reads: Tensor, modules: tuple[str, ...], ins: list[ModuleCall], out: ModuleCall) -> MlpProjections:
    """Return the projections, if they are a matrix in, perhaps gated, and one out."""
    whole = MlpProjections(modules, {}, reads)
    width, post = out.input.shape[-1], out.input
    outputs = [call.output for call in ins]
    if len(ins) == 1 and outputs[0].shape[-1] == width:
        paths = {"mlp_in": ins[0].name}
    elif len(ins) == 1 and outputs[0].shape[-1] == 2 * width:  # the gate in the first half
        if not _gates(outputs[0][..., :width], outputs[0][..., width:], post):
            return whole
        paths = {"mlp_in": ins[0].name, "mlp_gate": ins[0].name}
    elif len(ins) == 2 and all(output.shape[-1] == width for output in outputs):
        gates = [_gates(first, second, post) for first, second in (outputs, outputs[::-1])]
        if not any(gates):
            return whole
        gate, linear = ins if gates[0] else ins[::-1]
        paths = {"mlp_in": linear.name, "mlp_gate": gate.name}
    else:
        return whole
    return MlpProjections(modules, paths | {"mlp_out": out.name}, reads, width)


_ACTIVATIONS = (
    functional.silu,
    functional.gelu,
    partial(functional.gelu, approximate="tanh"),
    functional.relu,
    torch.sigmoid,
    lambda x: functional.relu(x).square(),
)


def _gates(gate: Tensor, linear: Tensor, post: Tensor) -> bool:
    """Return True if the first is the gate: its activation times the second is what the output projection reads."""
    return any(same(activation(gate) * linear, post) for activation in _ACTIVATIONS)


def find_experts(calls: list[ModuleCall]) -> tuple[str, int, int]:
    """Return the path and number of a mixture's experts, and the number that a token passes.

    They are an empty path and 0 if experts cannot be told apart.

    The module takes tokens, the numbers of the experts chosen for each, and their weights, and is linear in these; what
    it gives is the sum of what it gives for one chosen expert after another.
    """
    for call in calls:
        number = getattr(call.module, "num_experts", 0)
        if len(call.args) != 3 or call.kwargs or not all(isinstance(part, Tensor) for part in call.args):
            continue
        tokens, chosen, weights = call.args
        if chosen.is_floating_point() or chosen.shape != weights.shape or chosen.dim() != 2 or chosen.max() >= number:
            continue
        with torch.no_grad():
            twice, none = (call.module(tokens, chosen, factor * weights) for factor in (2, 0))
            apart = expert_outputs(call.module, tokens, chosen, weights).sum(1)
        if same(twice, 2 * call.output) and not none.any() and same(apart, call.output):
            return call.name, int(number), chosen.shape[1]
    return "", 0, 0
