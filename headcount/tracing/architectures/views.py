"""Views of a module's raw tensor under a hook's name: to read a part of it, and to put an edit back.

Of a mixture, `expert_outputs` tells the parts.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from headcount.remote_code import runs_remotely


@runs_remotely
class View:
    """A part of a raw tensor, in the shape that TransformerLens gives it.

    `read` and `write` are inverse: `read(write(raw, value, batch)) == value`. Neither changes its arguments.

    Attributes:
        heads: The number of heads to split the last axis into; 0 leaves it whole.
        part: The number of one of several pieces of the last axis (0 queries, 1 keys, 2 values of a fused projection).
        widths: The widths of the pieces, which follow one another; none for the whole axis.
        groups: The number of groups of heads of which each has its pieces in turn, with `widths` those of one group; 0
            if the pieces are those of the whole axis.
        flat: True if the raw tensor may have batch and position as one axis.
        shared: True if the raw tensor may have one row for the whole batch.
        scale: The factor that the raw tensor gets before it is added to the residual stream.
    """

    def __init__(
        self,
        heads: int = 0,
        part: int = 0,
        widths: tuple[int, ...] = (),
        *,
        groups: int = 0,
        flat: bool = False,
        shared: bool = False,
        scale: float = 1.0,
    ) -> None:
        self.heads, self.part, self.widths = heads, part, widths
        self.groups, self.flat, self.shared, self.scale = groups, flat, shared, scale

    def read(self, raw: Tensor, batch: int) -> Tensor:
        """Return the hook's value: [batch, pos, head, d_head], or [batch, pos, d] where there are no heads."""
        piece = self._piece(raw, batch)
        if not self.groups:
            return piece.unflatten(-1, (self.heads, -1)) if self.heads else piece
        return piece if self.heads == self.groups else piece.flatten(-2).unflatten(-1, (self.heads, -1))

    def _piece(self, raw: Tensor, batch: int) -> Tensor:
        """Return the view of a part of a raw tensor, with an axis of groups if there are some."""
        if self.flat and raw.dim() == 2:  # a norm in front of a flat network need not be flat
            raw = raw.unflatten(0, (batch, -1))
        if self.shared:
            raw = raw.expand(batch, -1, -1).contiguous()
        if self.scale != 1:
            raw = raw * self.scale
        if self.groups:  # in latent attention, raw tensors may have an axis of length one for heads to come
            raw = (raw.squeeze(1) if raw.dim() == 4 else raw).unflatten(-1, (self.groups, -1))
        if self.widths:
            raw = raw.narrow(-1, sum(self.widths[: self.part]), self.widths[self.part])
        return raw

    def write(self, raw: Tensor, value: Tensor, batch: int) -> Tensor:
        """Return a new raw tensor in which the hook's value has been replaced."""
        if self.widths:
            edited = raw.clone()
            piece = self._piece(edited, batch)
            piece.copy_(value.reshape(piece.shape))
            return edited
        value = value if self.scale == 1 else value / self.scale
        return (value if self.shared else value.reshape(raw.shape)).to(raw.dtype)


@runs_remotely
def fused_views(family: Any, n_heads: int, n_kv_heads: int, d_head: int) -> list[View]:
    """Return the views of queries, keys and values in the output of the one projection for all three."""
    groups = (family.fused_groups or n_kv_heads) if family.fused_layout == "interleaved" else 0
    heads = {"q": n_heads, "k": n_kv_heads, "v": n_kv_heads}
    widths = tuple(heads[name] // max(groups, 1) * d_head for name in family.fused_order)
    return [View(heads[name], family.fused_order.index(name), widths, groups=groups) for name in "qkv"]


@runs_remotely
def expert_outputs(
    experts: nn.Module,
    tokens: Float[Tensor, "... d_model"],
    chosen: Int[Tensor, "pos slot"],
    weights: Float[Tensor, "pos slot"],
) -> Float[Tensor, "pos expert d_model"]:
    """Return what each expert of a mixture gives of each token, times its weight; 0 where it is not chosen."""
    outputs = tokens.new_zeros(len(chosen), int(experts.num_experts), tokens.shape[-1])  # type: ignore[arg-type]
    for slot in range(chosen.shape[1]):
        alone = slice(slot, slot + 1)
        # Past hooks on this module, which runs just now.
        given: Tensor = type(experts).forward(experts, tokens, chosen[:, alone], weights[:, alone])
        given = given.reshape(len(chosen), 1, -1).to(outputs.dtype)
        outputs = outputs.scatter_add(1, chosen[:, alone, None].expand_as(given), given)
    return outputs
