"""The hook map: every TransformerLens hook name of a model, and the place of its value.

The map is data. A `HookPoint` names the module (or the operation inside a module's `forward`) that holds a value, the
view of the raw tensor that the hook sees, and the time in the forward pass. Names mean what they mean in
TransformerLens; see the table in `docs/hooks.md`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy, Variant
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.architectures.views import View, fused_views

Port = Literal[
    "input",
    "output",
    "operation",
    "keep",
    "keep_more",
    "middle",
    "rest",
    "norm",
    "attention",
    "result",
    "router",
    "experts",
    "select",
    "skip",
]


@dataclass(frozen=True)
class HookPoint:
    """The place of one hook's value.

    The port says which value of the module is meant:

    * `input`, `output`: its first argument, its result (the first element if that is a tuple);
    * `operation`: the value assigned inside its `forward` at the operation that `detail` labels;
    * `keep`: its input, kept for a later hook, times the parameter of the module that `detail` names;
    * `keep_more`: its output, added to what was kept;
    * `middle`: its output, plus the input that was kept;
    * `rest`: its output, less the input that was kept;
    * `norm`: its normalised input, before gain and bias;
    * `attention`: a part of the call of the attention function, named by `detail` (see `AttentionCall`);
    * `result`: what each head adds to its output, for an output projection;
    * `router`: the weight of each expert for each token, 0 where it is not chosen, for the experts of a mixture;
    * `experts`: what each of them gives of each token, times that weight;
    * `select`: its input, of which the hook returns some rows [row, d_model] for the module to work on;
    * `skip`: its output, without running it: the hook's return value, or the module's input if that is None.

    Attributes:
        name: The hook's name.
        module: The module's path.
        port: The value that is meant.
        view: The part of the raw value that the hook sees, and its shape.
        rank: Execution order: (layer, place in the layer); the embedding is layer -1.
        detail: The operation's label, or the part of the attention call; `copy` where the model must go on with a copy
            of an output, since it changes it in place.
        keep: The points at which the residual stream must be kept, for the ports `middle` and `rest`.
    """

    name: str
    module: str
    port: Port
    view: View
    rank: tuple[int, int]
    detail: str = ""
    keep: "tuple[HookPoint, ...]" = ()


InBlock = tuple[str, str, Port, View, str]
"""A hook point before its layer is known: name and module within the block, port, view, detail."""

HookName = str | Callable[[str], bool]


class HookMap(dict[str, HookPoint]):
    """Hook points by name, in execution order.

    `with model.hooks(fwd_hooks=[...])` calls hooks in every run inside the block, as in TransformerLens.

    Attributes:
        lost: Names of hooks of pruned parts, and for each the error message that says why it is not there.
        in_block: Returns the block of `model.hooks(...)`; None for a map of no model.
    """

    def __init__(self, points: Iterable[tuple[str, HookPoint]] = (), lost: Mapping[str, str] | None = None) -> None:
        super().__init__(points)
        self.lost = dict(lost or {})
        self.in_block: Callable[[Sequence[Any]], AbstractContextManager[Any]] | None = None

    def __call__(self, fwd_hooks: "Sequence[tuple[HookName, Any]]" = ()) -> AbstractContextManager[Any]:
        """Return a block in which hooks are called in every run of the model, in this thread.

        Args:
            fwd_hooks: (name, function) pairs, as for `run_with_hooks`; they are called before those of a run itself.

        Raises:
            InputError: A name is unknown, or this is the map of no model.
        """
        if self.in_block is None:
            raise InputError("this hook map belongs to no model: with model.hooks(fwd_hooks=[...])")
        return self.in_block(fwd_hooks)

    def without(self, lost: Mapping[str, str]) -> "HookMap":
        """Return the map of a model that has lost these names."""
        return HookMap(((name, point) for name, point in self.items() if name not in lost), {**self.lost, **lost})

    def find(self, names: HookName | Iterable[HookName] | None) -> list[HookPoint]:
        """Return the points that names, or predicates on names, select, in execution order.

        None selects all but the outputs of single experts, which would fill the memory.

        Raises:
            InputError: A name is not in the map.
        """
        if names is None:
            return [point for point in self.values() if not is_internal(point) and point.port != "experts"]
        selected: set[str] = set()
        for name in [names] if isinstance(names, str) or callable(names) else names:
            if callable(name):
                selected |= {known for known, point in self.items() if not is_internal(point) and name(known)}
            elif name in self:
                selected.add(name)
            else:
                raise InputError(self.lost.get(name) or self._unknown(name))
        return sorted((self[name] for name in selected), key=lambda point: point.rank)

    def _unknown(self, name: str) -> str:
        public = [known for known, point in self.items() if not is_internal(point)]
        ends = [known for known in public if known.endswith(f".{name}")]
        if ends:
            return (
                f"unknown hook name {name!r}: did you mean {', '.join(ends[:3])}{', ...' if len(ends) > 3 else ''}? "
                f"All of them: names=lambda name: name.endswith({name!r})"
            )
        similar = get_close_matches(str(name), public, n=3, cutoff=0.6)
        in_block = sorted({re.sub(r"blocks\.\d+\.", "", known) for known in public if known.startswith("blocks.")})
        hint = f"did you mean {', '.join(similar)}?" if similar else f"a block has {', '.join(in_block)}"
        return f"unknown hook name {name!r}: {hint}"


def is_internal(point: HookPoint) -> bool:
    """Return True if a point serves the toolkit alone: predicates on names and `names=None` leave it out."""
    return point.port in ("select", "skip") or point.detail == "call"


def build_hook_map(anatomy: Anatomy, unembed: str) -> HookMap:
    """Return the hook map of a model with these parts, whose unembedding is the module `unembed`."""
    family, sizes, d_model = anatomy.family, anatomy.sizes, View()
    embed = View(scale=family.embed_scale)
    points = [HookPoint("hook_embed", family.project_in or family.embed, "output", embed, (-1, 0))]
    if family.pos_embed:
        # Positions are looked up after the tokens, but before the tokens' embeddings are projected.
        place = -1 if family.project_in else 1
        points.append(HookPoint("hook_pos_embed", family.pos_embed, "output", View(shared=True), (-1, place)))
    for layer in range(sizes.n_layers):
        points += _block(anatomy.block(layer), sizes, layer, anatomy.variant)
    if family.final_norm:
        points.append(HookPoint("ln_final.hook_normalized", family.final_norm, "norm", d_model, (sizes.n_layers, 0)))
    points.append(HookPoint("unembed.select", unembed, "select", d_model, (sizes.n_layers, 1)))
    name = "ln_final.hook_normalized"
    absent = {} if family.final_norm else {name: f"there is no {name}: no norm is run once, before the unembedding"}
    for layer in range(sizes.n_layers):
        absent |= _absent(anatomy.block(layer), layer)
    absent |= {name: f"there is no {name}: {reason}" for name, reason in anatomy.lost.items()}
    offered = [point for point in points if point.name not in absent]
    return HookMap(((point.name, point) for point in sorted(offered, key=lambda point: point.rank)), absent)


def _absent(family: Family, layer: int) -> dict[str, str]:
    """Return hooks that a block lacks, each with the reason."""
    reasons: dict[str, str] = {}
    if not family.attention:
        no_heads = f"layer {layer} has no attention heads"
        no_heads += "" if family.only == "mlp" else "; hook_attn_out has what takes attention's place adds"
        names = ("hook_q", "hook_k", "hook_v", "hook_z", "hook_result", *CALL_PARTS)
        reasons |= dict.fromkeys((f"attn.{name}" for name in names), no_heads)
    if not family.norm_1:
        reasons["ln1.hook_normalized"] = "attention reads the residual stream without a norm of its own"
    if not family.norm_2:
        reasons["ln2.hook_normalized"] = "the feed-forward network has no norm of its own in front"
    if family.attention and not (family.query or family.fused):
        split = "what the projections return is not split into heads as attention uses it; attn.hook_rot_q and "
        split += "hook_rot_k have queries and keys"
        reasons |= dict.fromkeys(("attn.hook_q", "attn.hook_k", "attn.hook_v"), split)
    if family.latent:
        reasons["attn.hook_k"] = "heads share a part of their keys (latent attention); attn.hook_rot_k has whole keys"
    if not family.experts:
        no_mixture = "this layer is no mixture of experts, or one whose experts cannot be told apart"
        reasons |= dict.fromkeys(("mlp.hook_router", "mlp.hook_expert_out"), no_mixture)
    if not family.mlp_out:
        inside = (
            "the feed-forward network of this layer is not one matrix in and one out (a mixture of experts, say); "
            "hook_mlp_out has what they add as a whole"
        )
        reasons |= dict.fromkeys(("mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"), inside)
    if family.only:
        alone = f"layer {layer} has {'no' if family.only == 'attention' else 'nothing but a'} feed-forward network"
        of_mlp = ("hook_pre", "hook_pre_linear", "hook_post", "hook_router", "hook_expert_out")
        lost = ["hook_mlp_out", "ln2.hook_normalized", *(f"mlp.{name}" for name in of_mlp)]
        lost = ["hook_attn_out", "ln1.hook_normalized"] if family.only == "mlp" else lost
        reasons |= dict.fromkeys(["hook_resid_mid", *lost], alone)
    absent = [(f"blocks.{layer}.{name}", reason) for name, reason in reasons.items()]
    return {name: f"there is no {name}: {reason}" for name, reason in absent}


def _block(family: Family, sizes: Sizes, layer: int, variant: Variant) -> list[HookPoint]:
    """Return the points of one block, in execution order."""
    points: list[InBlock] = [
        ("skip", "", "skip", View(), str(family.block_elements)),
        ("hook_resid_pre", "", "input", View(), ""),
    ]
    norm_1: list[InBlock] = [("ln1.hook_normalized", family.norm_1, "norm", View(), "")] if family.norm_1 else []
    beside = View(scale=family.beside_factor)
    attention: list[InBlock] = [("hook_beside_out", family.beside, "output", beside, "")] if family.beside else []
    attention += [] if family.only == "mlp" else _attention(family, sizes, variant)
    mid = [] if variant.parallel or family.only else [_middle(family, variant)]
    mlp = [] if family.only == "attention" else _mlp(family, sizes.d_mlp, variant.residual_factor * family.mlp_factor)
    flat = View(flat=family.flat_mlp and not variant.post_norm)
    norm_2: list[InBlock] = [("ln2.hook_normalized", family.norm_2, "norm", flat, "")] if family.norm_2 else []
    if variant.post_norm:
        points += attention + norm_1 + mid + mlp + norm_2
    elif _ends_before(family, family.norm_2, family.attention):
        points += norm_1 + norm_2 + attention + mid + mlp
    else:
        points += norm_1 + attention + mid + norm_2 + mlp
    points += [("hook_resid_post", "", "output", View(), "")]
    root, names = f"{family.layers}.{layer}", [name for name, *_ in points]
    placed = []
    for place, (name, module, port, view, detail) in enumerate(points):
        path = f"{root}.{module}".rstrip(".")
        point = HookPoint(f"blocks.{layer}.{name}", path, port, view, (layer, place), detail)
        placed.append(replace(point, keep=_kept(family, point, root, names)))
    return placed


def _kept(family: Family, point: HookPoint, root: str, names: list[str]) -> tuple[HookPoint, ...]:
    """Return the points at which the residual stream is kept for a point of a block, whose hooks have these names."""
    layer, _ = point.rank
    if point.port == "rest":
        return (
            HookPoint(point.name, f"{root}.{family.norm_2}", "keep", View(), (layer, _after(names, "hook_resid_mid"))),
        )
    if point.port != "middle":
        return ()
    stream = View(scale=family.stream_factors[0])
    keep = HookPoint(point.name, root, "keep", stream, (layer, 0), family.stream_gains[0])
    if family.norms_in_stream:
        place = layer, _after(names, "ln1.hook_normalized")
        return (HookPoint(point.name, f"{root}.{family.norm_1}", "keep_more", stream, place),)
    if not family.beside:
        return (keep,)
    path, view = f"{root}.{family.beside}", View(scale=family.beside_factor)
    return keep, HookPoint(point.name, path, "keep_more", view, (layer, _after(names, "hook_beside_out")))


def _after(names: list[str], name: str) -> int:
    """Return the place after a name, 0 if it is not there."""
    return 1 + names.index(name) if name in names else 0


def _ends_before(family: Family, first: str, second: str) -> bool:
    """Return True if a module of a block is known to end before another."""
    known = first in family.order and second in family.order
    return known and family.order.index(first) < family.order.index(second)


def _in_order(family: Family, points: list[InBlock]) -> list[InBlock]:
    """Return points in the order in which their modules end."""
    return sorted(points, key=lambda point: family.order.index(point[1]) if point[1] in family.order else 0)


def _middle(family: Family, variant: Variant) -> InBlock:
    if family.mid:
        return "hook_resid_mid", "", "operation", View(flat=family.flat_mlp), family.mid
    if variant.post_norm:
        return "hook_resid_mid", family.norm_1, "output", View(), ""
    return "hook_resid_mid", family.attention_added, "middle", View(scale=_attention_factor(family, variant)), ""


def _attention_factor(family: Family, variant: Variant) -> float:
    return variant.residual_factor * family.attention_factor


def _attention(family: Family, sizes: Sizes, variant: Variant) -> list[InBlock]:
    heads, kv_heads, factor = (
        View(heads=sizes.n_heads),
        View(heads=sizes.n_kv_heads),
        _attention_factor(family, variant),
    )
    queries = View(sizes.n_heads, 0, family.query_widths, groups=sizes.n_heads) if family.query_widths else heads
    if not family.attention:
        return [("hook_attn_out", family.attention_added, "output", View(scale=factor), "")]
    queries = View(sizes.n_heads, 0, family.query_widths, groups=sizes.n_heads) if family.query_widths else heads
    if family.fused:
        parts = fused_views(family, sizes.n_heads, sizes.n_kv_heads, sizes.d_head)
        points: list[InBlock] = [
            (f"attn.hook_{name}", family.fused, "output", view, "") for name, view in zip("qkv", parts, strict=True)
        ]
    elif family.latent:
        values = View(sizes.n_heads, 1, variant.latent_widths, groups=sizes.n_heads)
        points = [
            ("attn.hook_q", family.query, "output", queries, ""),
            ("attn.hook_v", family.latent, "output", values, ""),
        ]
    elif not family.query:
        points = []
    else:
        points = [
            ("attn.hook_q", family.query, "output", queries, ""),
            ("attn.hook_k", family.key, "output", kv_heads, ""),
            ("attn.hook_v", family.value, "output", kv_heads, ""),
        ]
    points = _in_order(family, points)
    points += [(f"attn.{name}", family.attention, "attention", View(), part) for name, part in CALL_PARTS.items()]
    return [
        *points,
        ("attn.hook_z", family.output, "input", heads, ""),
        ("attn.hook_result", family.output, "result", View(heads=sizes.n_heads, scale=factor), ""),
        ("hook_attn_out", family.attention_added, "output", View(scale=factor), ""),
    ]


def _mlp(family: Family, d_mlp: int, factor: float) -> list[InBlock]:
    flat, added = View(flat=family.flat_mlp), View(flat=family.flat_mlp, scale=factor)
    copied = "copy" if family.adds_in_place else ""
    modules = () if family.mlp_returns_more else family.mlp
    points: list[InBlock] = [
        (f"mlp.skip_{number}", module, "skip", View(), "") for number, module in enumerate(modules)
    ]
    if family.experts:
        points.append(("mlp.hook_router", family.experts, "router", View(), ""))
        points.append(("mlp.hook_expert_out", family.experts, "experts", View(), ""))
    if not family.mlp_added:
        return [*points, ("hook_mlp_out", "", "rest", View(), "")]
    if not family.mlp_out:
        return [*points, ("hook_mlp_out", family.mlp_added, "output", added, copied)]
    if family.mlp_gate and family.mlp_gate == family.mlp_in:  # the gate in the first half of one projection
        halves = (d_mlp, d_mlp)
        points += [("mlp.hook_pre", family.mlp_in, "output", View(0, 0, halves), "")]
        points += [("mlp.hook_pre_linear", family.mlp_in, "output", View(0, 1, halves), "")]
    elif family.mlp_gate:
        gate: InBlock = ("mlp.hook_pre", family.mlp_gate, "output", flat, "")
        points += _in_order(family, [gate, ("mlp.hook_pre_linear", family.mlp_in, "output", flat, "")])
    else:
        points += [("mlp.hook_pre", family.mlp_in, "output", flat, "")]
    points += [("mlp.hook_post", family.mlp_out, "input", flat, "")]
    return [*points, ("hook_mlp_out", family.mlp_added, "output", added, copied)]


CALL_PARTS = {
    "call": "call",
    "hook_rot_q": "query",
    "hook_rot_k": "key",
    "hook_attn_scores": "scores",
    "hook_pattern": "pattern",
}
"""Hooks at the call of the attention function, and the part of the call that each one sees."""
