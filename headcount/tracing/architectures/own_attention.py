"""Attention that a model computes itself, caught as torch runs it: some models call no attention function.

Inside of an attention module the last product before the softmax is that of queries and keys, and the first one after
it that of the pattern and the values. What the model adds to the scores (a mask, ALiBi) is what the scores have beside
the product; see `AttentionCall.of_caught`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from headcount.remote_code import runs_remotely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

_PRODUCTS = ("matmul", "__matmul__", "bmm", "baddbmm")
_FUSED = "scaled_dot_product_attention"


@runs_remotely
class CaughtAttention:
    """Attention of one layer that a model computes itself; tensors are [batch, head, pos, d_head].

    Attributes:
        query: Queries of every head.
        key: Keys of every KV group.
        value: Values of every KV group.
        scores: The softmax's input, [batch, head, query, key]; None where torch's attention function is called.
        mask: The mask of that function; None: causal, or there is no such function.
        scale: The factor of the products of queries and keys in that function.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scores: Tensor | None = None,
        mask: Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        self.query, self.key, self.value = query, key, value
        self.scores, self.mask, self.scale = scores, mask, scale

    def products(self) -> Tensor:
        """Return the products of queries and keys, [batch, head, query, key], in float32 at least."""
        exact = torch.promote_types(self.query.dtype, torch.float32)
        key = self.key.repeat_interleave(self.query.shape[1] // self.key.shape[1], dim=1)
        return self.query.to(exact) @ key.to(exact).mT


@runs_remotely
class CatchAttention(TorchFunctionMode):
    """Catches attention that some modules compute, inside a `with` block.

    Args:
        modules: The modules; attention belongs to the innermost that runs.
        serve: Takes a module, its attention and the heads' outputs [batch, head, pos, d_head], and returns the outputs
            with which the model goes on.
        batch: The number of sequences: heads of all of them may be one axis.
    """

    def __init__(
        self, modules: Iterable[nn.Module], serve: Callable[[nn.Module, CaughtAttention, Tensor], Tensor], batch: int
    ) -> None:
        super().__init__()
        self.modules, self.serve, self.batch = list(modules), serve, batch
        self.running: list[nn.Module] = []
        self.handles: list[Any] = []
        self.factors: tuple[Tensor, Tensor] | None = None
        self.scores: Tensor | None = None

    def __enter__(self) -> CatchAttention:
        """Begin to catch."""
        for module in self.modules:
            self.handles.append(module.register_forward_pre_hook(lambda module, args: self.running.append(module)))
            self.handles.append(module.register_forward_hook(lambda module, args, output: self.end()))
        TorchFunctionMode.__enter__(self)
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""
        TorchFunctionMode.__exit__(self, *error)
        for handle in self.handles:
            handle.remove()

    def end(self) -> None:
        """Note that the innermost module has run."""
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch, and look at those that are steps of attention."""
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        if not self.running:
            return result
        if name == _FUSED:
            return self.serve_fused(args, kwargs, result)
        if name == "softmax":
            self.scores = args[0] if args else kwargs["input"]
        elif name in _PRODUCTS:
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            return self.multiplied(tensors[-2], tensors[-1], result)
        return result

    def multiplied(self, left: Tensor, right: Tensor, product: Tensor) -> Tensor:
        """Remember a product before the softmax; serve the first one after it."""
        if left.dim() < 3 or right.dim() < 3:
            return product
        scores, self.scores = self.scores, None
        if scores is None or self.factors is None or left.numel() != scores.numel():
            self.factors = left, right
            return product
        query, transposed = self.factors
        heads = self.by_head(query)
        key, value = self.by_head(transposed).mT, self.by_head(right)
        caught = CaughtAttention(heads, key, value, scores.reshape(*heads.shape[:3], -1))
        return self.serve(self.running[-1], caught, self.by_head(product)).reshape(product.shape)

    def serve_fused(self, args: Any, kwargs: Any, result: Tensor) -> Tensor:
        """Serve a call of torch's attention function."""
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        options = dict(zip(names, args, strict=False)) | kwargs
        query, key, value = (options[name] for name in names[:3])
        mask, scale = options.get("attn_mask"), options.get("scale")
        if mask is None and not options.get("is_causal"):
            mask = query.new_zeros(1, 1, query.shape[2], key.shape[2])
        caught = CaughtAttention(query, key, value, None, mask, query.shape[-1] ** -0.5 if scale is None else scale)
        return self.serve(self.running[-1], caught, result)

    def by_head(self, states: Tensor) -> Tensor:
        """Return states with an axis of heads, whose first axis may be that of sequences and heads."""
        return states if states.dim() == 4 else states.unflatten(0, (self.batch, -1))
