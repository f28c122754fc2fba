"""Views of a module's raw tensor under a hook's name: to read a part of it, and to put an edit back."""

from __future__ import annotations

from torch import Tensor

from headcount.remote_code import runs_remotely


@runs_remotely
class View:
    """A part of a raw tensor, in the shape that TransformerLens gives it.

    `read` and `write` are inverse: `read(write(raw, value, batch)) == value`. Neither changes its arguments.

    Attributes:
        heads: The number of heads to split the last axis into; 0 leaves it whole.
        part: The number of one of `parts` equal pieces of the last axis (0 queries, 1 keys, 2 values of a fused
            projection).
        parts: The number of pieces.
        interleaved: True if the pieces alternate head by head rather than follow one another.
        flat: True if the raw tensor has batch and position as one axis.
        shared: True if the raw tensor may have one row for the whole batch.
    """

    def __init__(
        self,
        heads: int = 0,
        part: int = 0,
        parts: int = 1,
        *,
        interleaved: bool = False,
        flat: bool = False,
        shared: bool = False,
    ) -> None:
        self.heads, self.part, self.parts = heads, part, parts
        self.interleaved, self.flat, self.shared = interleaved, flat, shared

    def read(self, raw: Tensor, batch: int) -> Tensor:
        """Return the hook's value: [batch, pos, head, d_head], or [batch, pos, d] where there are no heads."""
        return self._select(self._unfold(raw, batch))

    def write(self, raw: Tensor, value: Tensor, batch: int) -> Tensor:
        """Return a new raw tensor in which the hook's value has been replaced."""
        if self.parts == 1:
            return (value if self.shared else value.reshape(raw.shape)).to(raw.dtype)
        edited = raw.clone()
        self._select(self._unfold(edited, batch)).copy_(value)
        return edited

    def _unfold(self, raw: Tensor, batch: int) -> Tensor:
        if self.flat:
            raw = raw.unflatten(0, (batch, -1))
        if self.shared:
            raw = raw.expand(batch, -1, -1).contiguous()
        if self.parts == 1:
            return raw.unflatten(-1, (self.heads, -1)) if self.heads else raw
        order = (self.heads, self.parts, -1) if self.interleaved else (self.parts, self.heads, -1)
        return raw.unflatten(-1, order)

    def _select(self, unfolded: Tensor) -> Tensor:
        if self.parts == 1:
            return unfolded
        return unfolded.select(-2 if self.interleaved else -3, self.part)
