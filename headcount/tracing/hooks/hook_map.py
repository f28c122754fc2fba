"""The hook map: every TransformerLens hook name of a model, and the place of its value.

The map is data. A `HookPoint` names the module (or the operation inside a module's `forward`) that holds a value, the
view of the raw tensor that the hook sees, and the time in the forward pass. Names mean what they mean in
TransformerLens; see the table in `docs/hooks.md`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Variant
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.hooks.views import View

Port = Literal["input", "output", "operation", "norm", "attention", "result", "select", "skip"]


@dataclass(frozen=True)
class HookPoint:
    """The place of one hook's value.

    The port says which value of the module is meant:

    * `input`, `output`: its first argument, its result (the first element if that is a tuple);
    * `operation`: the value assigned inside its `forward` at the operation that `detail` labels;
    * `norm`: its normalised input, before gain and bias;
    * `attention`: a part of the call of the attention function, named by `detail` (see `AttentionCall`);
    * `result`: what each head adds to its output, for an output projection;
    * `select`: its input, of which the hook returns some rows [row, d_model] for the module to work on;
    * `skip`: its output, without running it: the hook's return value, or the module's input if that is None.

    Attributes:
        name: The hook's name.
        module: The module's path.
        port: The value that is meant.
        view: The part of the raw value that the hook sees, and its shape.
        rank: Execution order: (layer, place in the layer); the embedding is layer -1.
        detail: The operation's label, or the part of the attention call.
    """

    name: str
    module: str
    port: Port
    view: View
    rank: tuple[int, int]
    detail: str = ""


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
        return HookMap(((name, point) for name, point in self.items() if name not in lost), lost)

    def find(self, names: HookName | Iterable[HookName] | None) -> list[HookPoint]:
        """Return the points that names, or predicates on names, select, in execution order; None selects all.

        Raises:
            InputError: A name is not in the map.
        """
        if names is None:
            return [point for point in self.values() if not is_internal(point)]
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


def build_hook_map(family: Family, sizes: Sizes, variant: Variant, unembed: str) -> HookMap:
    """Return the hook map of a model of this family, with these sizes, whose unembedding is the module `unembed`."""
    d_model = View()
    points = [HookPoint("hook_embed", family.project_in or family.embed, "output", d_model, (-1, 0))]
    if family.pos_embed:
        # Positions are looked up after the tokens, but before the tokens' embeddings are projected.
        place = -1 if family.project_in else 1
        points.append(HookPoint("hook_pos_embed", family.pos_embed, "output", View(shared=True), (-1, place)))
    for layer in range(sizes.n_layers):
        points += _block(family, sizes, layer, variant)
    if family.final_norm:
        points.append(HookPoint("ln_final.hook_normalized", family.final_norm, "norm", d_model, (sizes.n_layers, 0)))
    points.append(HookPoint("unembed.select", unembed, "select", d_model, (sizes.n_layers, 1)))
    absent = _absent(family, sizes.n_layers)
    return HookMap(((point.name, point) for point in sorted(points, key=lambda point: point.rank)), absent)


def _absent(family: Family, n_layers: int) -> dict[str, str]:
    """Return hooks that a model lacks, each with the reason."""
    reasons = {}
    if not family.norm_1:
        reasons["ln1.hook_normalized"] = "attention reads the residual stream without a norm of its own"
    if not family.norm_2:
        reasons["ln2.hook_normalized"] = "the feed-forward network has no norm of its own in front"
    if not family.mlp_out:
        inside = (
            "the feed-forward networks of this model are not one matrix in and one out (a mixture of experts, say); "
            "hook_mlp_out has what they add as a whole"
        )
        reasons |= dict.fromkeys(("mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"), inside)
    names = [(f"blocks.{layer}.{name}", reason) for layer in range(n_layers) for name, reason in reasons.items()]
    return {name: f"there is no {name}: {reason}" for name, reason in names}


def _block(family: Family, sizes: Sizes, layer: int, variant: Variant) -> list[HookPoint]:
    """Return the points of one block, in execution order."""
    points: list[InBlock] = [("skip", "", "skip", View(), ""), ("hook_resid_pre", "", "input", View(), "")]
    norm_1: list[InBlock] = [("ln1.hook_normalized", family.norm_1, "norm", View(), "")] if family.norm_1 else []
    attention = _attention(family, sizes)
    mid: list[InBlock] = (
        [] if variant.parallel else [("hook_resid_mid", "", "operation", View(flat=family.flat_mlp), family.mid)]
    )
    flat = View(flat=family.flat_mlp and not variant.post_norm)
    norm_2: list[InBlock] = [("ln2.hook_normalized", family.norm_2, "norm", flat, "")] if family.norm_2 else []
    if variant.post_norm:
        points += attention + norm_1 + mid + _mlp(family) + norm_2
    else:
        points += norm_1 + attention + mid + norm_2 + _mlp(family)
    points += [("hook_resid_post", "", "output", View(), "")]
    root = f"{family.layers}.{layer}"
    return [
        HookPoint(f"blocks.{layer}.{name}", f"{root}.{module}".rstrip("."), port, view, (layer, place), detail)
        for place, (name, module, port, view, detail) in enumerate(points)
    ]


def _attention(family: Family, sizes: Sizes) -> list[InBlock]:
    heads, kv_heads = View(heads=sizes.n_heads), View(heads=sizes.n_kv_heads)
    if family.fused:
        interleaved = family.fused_layout == "interleaved"
        parts = [View(heads=sizes.n_heads, part=part, parts=3, interleaved=interleaved) for part in range(3)]
        points: list[InBlock] = [
            (f"attn.hook_{name}", family.fused, "output", view, "") for name, view in zip("qkv", parts, strict=True)
        ]
    else:
        points = [
            ("attn.hook_q", family.query, "output", heads, ""),
            ("attn.hook_k", family.key, "output", kv_heads, ""),
            ("attn.hook_v", family.value, "output", kv_heads, ""),
        ]
    points += [(f"attn.{name}", family.attention, "attention", View(), part) for name, part in CALL_PARTS.items()]
    return [
        *points,
        ("attn.hook_z", family.output, "input", heads, ""),
        ("attn.hook_result", family.output, "result", heads, ""),
        ("hook_attn_out", family.attention_added, "output", View(), ""),
    ]


def _mlp(family: Family) -> list[InBlock]:
    flat = View(flat=family.flat_mlp)
    points: list[InBlock] = [
        (f"mlp.skip_{number}", module, "skip", View(), "") for number, module in enumerate(family.mlp)
    ]
    if not family.mlp_out:
        return [*points, ("hook_mlp_out", family.mlp_added, "output", flat, "")]
    if family.mlp_gate:
        points += [("mlp.hook_pre", family.mlp_gate, "output", flat, "")]
        points += [("mlp.hook_pre_linear", family.mlp_in, "output", flat, "")]
    else:
        points += [("mlp.hook_pre", family.mlp_in, "output", flat, "")]
    points += [("mlp.hook_post", family.mlp_out, "input", flat, "")]
    return [*points, ("hook_mlp_out", family.mlp_added, "output", flat, "")]


CALL_PARTS = {
    "call": "call",
    "hook_rot_q": "query",
    "hook_rot_k": "key",
    "hook_attn_scores": "scores",
    "hook_pattern": "pattern",
}
"""Hooks at the call of the attention function, and the part of the call that each one sees."""
