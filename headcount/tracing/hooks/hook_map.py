"""The hook map: every TransformerLens hook name of a model, and where its value is found.

The map is data. A `HookPoint` says which module (or which operation inside a module's `forward`) holds a value, how
the raw tensor is seen under the hook's name, and when in the forward pass it is there. Names mean what they mean in
TransformerLens; see the table in `docs/hooks.md`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Variant
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.hooks.views import View

Port = Literal["input", "output", "operation", "norm", "attention", "result", "select", "skip"]


@dataclass(frozen=True)
class HookPoint:
    """Where one hook's value is.

    The port says what of the module is meant:

    * `input`, `output`: its first argument, its result (the first element if that is a tuple);
    * `operation`: the value assigned inside its `forward` at the operation that `detail` labels;
    * `norm`: the normalised input before gain and bias;
    * `attention`: the call of the attention function, of which `detail` names a part (see `AttentionCall`);
    * `result`: the heads' separate contributions to the output projection;
    * `select`: its input, of which the hook returns the rows [row, d_model] that are wanted;
    * `skip`: the module is left out; what the hook returns, or else its input, takes the place of its output.
    """

    name: str
    module: str
    port: Port
    view: View
    rank: tuple[int, int]
    """Execution order: (layer, place in the layer); the embedding is layer -1."""
    detail: str = ""
    """The operation's label, or the part of the attention call."""


Row = tuple[str, str, Port, View, str]
"""A point before its layer is known: name and module within the block, port, view, detail."""

HookName = str | Callable[[str], bool]


class HookMap(dict[str, HookPoint]):
    """Hook name → `HookPoint`, in execution order.

    Attributes:
        lost: Names of parts that were pruned, and why they are not there.
    """

    def __init__(self, points: Iterable[tuple[str, HookPoint]] = (), lost: Mapping[str, str] | None = None) -> None:
        super().__init__(points)
        self.lost = dict(lost or {})

    def without(self, lost: Mapping[str, str]) -> "HookMap":
        """The map of a model that has lost these names."""
        return HookMap(((name, point) for name, point in self.items() if name not in lost), lost)

    def find(self, names: HookName | Iterable[HookName] | None) -> list[HookPoint]:
        """The points that these names, or predicates on names, select, in execution order.

        Raises:
            InputError: A name is not in the map.
        """
        if names is None:
            return [point for point in self.values() if not internal(point)]
        chosen: set[str] = set()
        for name in [names] if isinstance(names, str) or callable(names) else names:
            if callable(name):
                chosen |= {known for known, point in self.items() if not internal(point) and name(known)}
            elif name in self:
                chosen.add(name)
            else:
                raise InputError(self.lost.get(name) or self._unknown(name))
        return sorted((self[name] for name in chosen), key=lambda point: point.rank)

    def _unknown(self, name: str) -> str:
        offered = [known for known, point in self.items() if not internal(point)]
        near = get_close_matches(str(name), offered, n=3, cutoff=0.6)
        block = sorted({re.sub(r"blocks\.\d+\.", "", known) for known in offered if known.startswith("blocks.")})
        hint = f"did you mean {', '.join(near)}?" if near else f"a block has {', '.join(block)}"
        return f"unknown hook name {name!r}: {hint}"


def internal(point: HookPoint) -> bool:
    """Whether a point is for the toolkit's own use: it hands out no tensor."""
    return point.port in ("select", "skip") or point.detail == "call"


def build(family: Family, sizes: Sizes, variant: Variant, unembed: str) -> HookMap:
    """The hook map of a model of this family, with these sizes, whose unembedding is the module `unembed`."""
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
    return HookMap((point.name, point) for point in sorted(points, key=lambda point: point.rank))


def _block(family: Family, sizes: Sizes, layer: int, variant: Variant) -> list[HookPoint]:
    """The points of one block, in execution order."""
    rows: list[Row] = [("skip", "", "skip", View(), ""), ("hook_resid_pre", "", "input", View(), "")]
    norm_1: list[Row] = [("ln1.hook_normalized", family.norm_1, "norm", View(), "")]
    attention = _attention(family, sizes)
    mid: list[Row] = (
        [] if variant.parallel else [("hook_resid_mid", "", "operation", View(flat=family.flat_mlp), family.mid)]
    )
    norm_2: list[Row] = [
        ("ln2.hook_normalized", family.norm_2, "norm", View(flat=family.flat_mlp and not variant.post_norm), "")
    ]
    if variant.post_norm:
        rows += attention + norm_1 + mid + _mlp(family) + norm_2
    else:
        rows += norm_1 + attention + mid + norm_2 + _mlp(family)
    rows += [("hook_resid_post", "", "output", View(), "")]
    root = f"{family.layers}.{layer}"
    return [
        HookPoint(f"blocks.{layer}.{name}", f"{root}.{module}".rstrip("."), port, view, (layer, place), detail)
        for place, (name, module, port, view, detail) in enumerate(rows)
    ]


def _attention(family: Family, sizes: Sizes) -> list[Row]:
    heads, kv_heads = View(heads=sizes.n_heads), View(heads=sizes.n_kv_heads)
    if family.fused:
        interleaved = family.fused_layout == "interleaved"
        parts = [View(heads=sizes.n_heads, part=part, parts=3, interleaved=interleaved) for part in range(3)]
        rows: list[Row] = [
            (f"attn.hook_{name}", family.fused, "output", view, "") for name, view in zip("qkv", parts, strict=True)
        ]
    else:
        rows = [
            ("attn.hook_q", family.query, "output", heads, ""),
            ("attn.hook_k", family.key, "output", kv_heads, ""),
            ("attn.hook_v", family.value, "output", kv_heads, ""),
        ]
    rows += [(f"attn.{name}", family.attention, "attention", View(), part) for name, part in AT_THE_CALL.items()]
    return [
        *rows,
        ("attn.hook_z", family.output, "input", heads, ""),
        ("attn.hook_result", family.output, "result", heads, ""),
        ("hook_attn_out", family.attention_added, "output", View(), ""),
    ]


def _mlp(family: Family) -> list[Row]:
    flat = View(flat=family.flat_mlp)
    rows: list[Row] = [(f"mlp.skip_{number}", module, "skip", View(), "") for number, module in enumerate(family.mlp)]
    if family.mlp_gate:
        rows += [("mlp.hook_pre", family.mlp_gate, "output", flat, "")]
        rows += [("mlp.hook_pre_linear", family.mlp_in, "output", flat, "")]
    else:
        rows += [("mlp.hook_pre", family.mlp_in, "output", flat, "")]
    rows += [("mlp.hook_post", family.mlp_out, "input", flat, "")]
    return [*rows, ("hook_mlp_out", family.mlp_added, "output", flat, "")]


AT_THE_CALL = {
    "call": "call",
    "hook_rot_q": "query",
    "hook_rot_k": "key",
    "hook_attn_scores": "scores",
    "hook_pattern": "pattern",
}
"""Hooks served where the attention function is called, and the part of the call that each one is."""
