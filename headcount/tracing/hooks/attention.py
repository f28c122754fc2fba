"""Attention of one layer, computed here where a hook reads or edits the attention call.

Elsewhere transformers' own attention function runs.

transformers calls an attention function with queries, keys, values and a mask. `AttentionCall` holds these arguments
and computes from them the output with the row-wise log-sum-exp (memory linear in sequence length), single entries of
the pattern, or the whole pattern. Everything that changes a pattern (mask, sliding window, soft cap) has its effect; an
argument that is not known here is refused, never ignored.

Tensors are [batch, head, pos, d_head]; keys and values may have fewer heads (grouped queries). This code travels
to wherever the model is (see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headcount.remote_code import runs_remotely
from headcount.results import InputError

# Arguments that transformers passes along, and that change nothing in dense attention.
_WITHOUT_EFFECT = (
    "position_ids",
    "cache_position",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "return_dict",
)


@runs_remotely
class AttentionOutput:
    """Output of attention, with the logarithm of each row's normaliser."""

    def __init__(
        self, output: Float[Tensor, "batch head query d_head"], log_sum_exp: Float[Tensor, "batch head query"]
    ) -> None:
        self.output, self.log_sum_exp = output, log_sum_exp

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.output, self.log_sum_exp))


@runs_remotely
class AttentionCall:
    """Arguments of one call of an attention function.

    Attributes:
        query: Queries of every head.
        key: Keys of every KV group.
        value: Values of every KV group.
        mask: [batch or 1, head or 1, query, key]: True, or 0, where attention is allowed. None: causal.
        scale: The factor of the products of queries and keys.
        soft_cap: The bound c of capped scores c tanh(score / c), if there is one.
        sink: Each head's score of a sink, if there is one: it takes a share of attention, and adds nothing to the
            output.
    """

    def __init__(
        self,
        query: Float[Tensor, "batch head query d_head"],
        key: Float[Tensor, "batch kv_head key d_head"],
        value: Float[Tensor, "batch kv_head key d_head"],
        mask: Tensor | None,
        scale: float,
        soft_cap: float | None = None,
        sink: Float[Tensor, " head"] | None = None,
    ) -> None:
        self.query, self.key, self.value = query, key, value
        self.mask, self.scale, self.soft_cap, self.sink = mask, scale, soft_cap, sink

    def replace(self, **arguments: Any) -> AttentionCall:
        """Return the same call with some arguments replaced."""
        return AttentionCall(**{**vars(self), **arguments})

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttentionCall:
        """Return the call, given transformers' arguments of it: (module, query, key, value, mask), and keywords.

        Raises:
            InputError: An argument that may change the result is not known here.
        """
        module, query, key, value = args[:4]
        options = {name: value for name, value in kwargs.items() if value is not None and name not in _WITHOUT_EFFECT}
        mask = args[4] if len(args) > 4 else options.pop("attention_mask", None)
        scale = options.pop("scaling", query.shape[-1] ** -0.5)
        soft_cap, window = options.pop("softcap", None), options.pop("sliding_window", None)
        sink = options.pop("s_aux", None)
        dropout, causal = options.pop("dropout", 0.0), options.pop("is_causal", getattr(module, "is_causal", True))
        dense = mask is None or (isinstance(mask, Tensor) and mask.dim() == 4)
        if type(mask).__name__ == "BlockMask":
            raise InputError(
                "flex attention is not supported: load the model with attn_implementation='sdpa', or 'eager'"
            )
        if options or args[5:] or dropout or not causal or not dense:
            form = "" if dense else f", mask {list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__}"
            unsupported = sorted(options) or [f"dropout={dropout}, is_causal={causal}{form}"]
            raise InputError(
                f"{type(module).__name__} calls attention in a way that is not supported ({', '.join(unsupported)}): "
                "expected causal attention without dropout, with a mask, sliding window, soft cap or sink at most"
            )
        call = cls(query, key, value, mask, scale, soft_cap, sink)
        if mask is None and window is not None and key.shape[2] > window:
            return call.replace(mask=(call.causal() & ~call.causal().tril(-window))[None, None])
        return call

    @classmethod
    def of_caught(cls, caught: Any, scale: float, n_kv_heads: int) -> AttentionCall:
        """Return the call of attention that a model computes itself.

        What it adds to the products of queries and keys, such as ALiBi, becomes a part of the mask.

        Args:
            caught: The attention, a `CaughtAttention`.
            scale: The factor of the products.
            n_kv_heads: The number of KV groups: the model may hand keys and values to each query head.
        """
        key, value = (states[:, :: states.shape[1] // n_kv_heads] for states in (caught.key, caught.value))
        if caught.scores is None:
            return cls(caught.query, key, value, caught.mask, caught.scale)
        return cls(caught.query, key, value, (caught.scores - caught.products() * scale).detach(), scale)

    def of_heads(self, heads: Int[Tensor, " selected"]) -> AttentionCall:
        """Return the call of some heads alone, with keys and values for each of them."""
        group = self.query.shape[1] // self.key.shape[1]
        mask = self.mask if self.mask is None or self.mask.shape[1] == 1 else self.mask[:, heads]
        index = heads.to(self.query.device)
        key, value = self.key[:, index // group], self.value[:, index // group]
        sink = None if self.sink is None else self.sink[index]
        return self.replace(query=self.query[:, index], key=key, value=value, mask=mask, sink=sink)

    def causal(self, rows: slice = slice(None)) -> Tensor:
        """Return the causal mask [query, key], or some rows of it."""
        query = torch.arange(self.query.shape[2], device=self.query.device)[rows]
        return query[:, None] >= torch.arange(self.key.shape[2], device=self.query.device)

    def scores(self, rows: slice = slice(None)) -> Float[Tensor, "batch head query key"]:
        """Return the attention scores of all queries, or of some rows; scaled, capped, and -inf where masked."""
        key = self._per_query_head(self.key)
        return self._mask(self._cap(self.query[:, :, rows] @ key.mT * self.scale), rows)

    def pattern(self, scores: Tensor | None = None) -> Float[Tensor, "batch head query key"]:
        """Return the attention pattern; computed in float32, returned in the model's dtype.

        A query that may attend to nothing, as that of padding before a text, attends to nothing where the mask is
        boolean. Where it is a number to add, as in eager attention, it attends to all keys alike, as in transformers.
        """
        pattern = self.softmax(self.scores() if scores is None else scores)
        if self.mask is not None and self.mask.dtype == torch.bool:
            pattern = pattern.masked_fill(~self.mask.any(-1, keepdim=True), 0.0)
        return pattern.to(self.query.dtype)

    def softmax(self, scores: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
        """Return attention from its scores, in float32; a sink takes its share, so that a row sums to less than one."""
        if self.sink is None:
            return scores.softmax(-1, dtype=torch.float32)
        sink = self.sink.to(scores).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        return torch.cat([scores, sink], dim=-1).softmax(-1, dtype=torch.float32)[..., :-1]

    def apply(self, pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query d_head"]:
        """Return the heads' outputs under a pattern."""
        return pattern.to(self.value.dtype) @ self._per_query_head(self.value)

    def attend(self) -> AttentionOutput:
        """Return the output and log-sum-exp without a whole pattern in memory: linear in sequence length."""
        output, log_sum_exp = self._attend_without_sink()
        if self.sink is None:
            return AttentionOutput(output, log_sum_exp)
        whole = torch.logaddexp(log_sum_exp, self.sink.to(log_sum_exp)[:, None])
        return AttentionOutput(output * (log_sum_exp - whole).exp()[..., None].to(output.dtype), whole)

    def _attend_without_sink(self) -> AttentionOutput:
        alike = self.value.shape[-1] == self.query.shape[-1] and self.value.dtype == self.query.dtype
        if self.soft_cap is None and alike:  # as the kernels need
            if self.query.device.type == "cpu":
                return AttentionOutput(*self._flash_cpu())
            # The kernel needs masks in aligned memory, and has no float64.
            if self.query.device.type == "cuda" and self.mask is None and self.query.dtype != torch.float64:
                return self._efficient_cuda()
        return self._in_chunks()

    def entries(
        self, query: Int[Tensor, "batch pair"], key: Int[Tensor, "batch pair"], log_sum_exp: Tensor
    ) -> Float[Tensor, "batch head pair"]:
        """Return single entries of the pattern, A[query, key] = exp(score - log_sum_exp), in float32 at least."""
        q, k = _rows(self.query, query), self._per_query_head(_rows(self.key, key))
        scores = self._cap(_dot(q.to(self._exact), k.to(self._exact)) * self.scale)
        scores = scores - log_sum_exp.gather(2, query[:, None].expand(-1, scores.shape[1], -1))
        if self.mask is None:
            return scores.masked_fill((key > query)[:, None], -torch.inf).exp()
        batch = torch.arange(len(query), device=query.device)[:, None] % self.mask.shape[0]
        allowed = self.mask[batch, :, query, key].transpose(1, 2)
        return (
            scores.masked_fill(~allowed, -torch.inf).exp() if allowed.dtype == torch.bool else (scores + allowed).exp()
        )

    def _flash_cpu(self) -> tuple[Tensor, Tensor]:
        mask = self.mask
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=self.query.dtype, device=mask.device).masked_fill(~mask, -torch.inf)
        output, log_sum_exp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            self.query, self.key, self.value, 0.0, mask is None, attn_mask=mask, scale=self.scale
        )
        return output, log_sum_exp

    def _efficient_cuda(self) -> AttentionOutput:
        pos, d_head = self.query.shape[2:]
        query, key, value = (
            _to_multiple_of_8(states)
            for states in (self.query, self._per_query_head(self.key), self._per_query_head(self.value))
        )
        output, log_sum_exp, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, True, scale=self.scale
        )
        return AttentionOutput(output[..., :d_head], log_sum_exp[..., :pos])  # the kernel pads rows to 32

    def _in_chunks(self, rows: int = 128) -> AttentionOutput:
        """Compute `attend` in plain operations, some queries at a time: any device, any option; float32 at least."""
        key, value = self._per_query_head(self.key).to(self._exact), self._per_query_head(self.value)
        outputs, normalisers = [], []
        for start in range(0, self.query.shape[2], rows):
            chunk = slice(start, start + rows)
            scores = self._mask(self._cap(self.query[:, :, chunk].to(self._exact) @ key.mT * self.scale), chunk)
            normalisers.append(scores.logsumexp(-1))
            outputs.append(scores.softmax(-1).to(value.dtype) @ value)
        return AttentionOutput(torch.cat(outputs, 2), torch.cat(normalisers, 2))

    def by_rows(self, rows: int = 64) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield the pattern some queries at a time, memory linear in sequence length: (queries, pattern, output).

        The pattern, [batch, head, row, key] in float32, ends after the last key that the queries may attend to.
        """
        key, value = self._per_query_head(self.key).to(self._exact), self._per_query_head(self.value)
        for start in range(0, self.query.shape[2], rows):
            chunk = slice(start, min(start + rows, self.query.shape[2]))
            last = chunk.stop if self.mask is None else key.shape[2]
            scores = self._cap(self.query[:, :, chunk].to(self._exact) * self.scale @ key[:, :, :last].mT)
            pattern = self.softmax(self._mask(scores, chunk))
            yield chunk, pattern, pattern.to(value.dtype) @ value[:, :, :last]

    @property
    def _exact(self) -> torch.dtype:
        """The number format of scores: float32, or float64 for a model in float64."""
        return torch.promote_types(self.query.dtype, torch.float32)

    def _cap(self, scores: Tensor) -> Tensor:
        return scores if self.soft_cap is None else self.soft_cap * (scores / self.soft_cap).tanh()

    def _mask(self, scores: Tensor, rows: slice) -> Tensor:
        mask = self.causal(rows)[:, : scores.shape[-1]] if self.mask is None else self.mask[:, :, rows]
        return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask

    def _per_query_head(self, grouped: Tensor) -> Tensor:
        group = self.query.shape[1] // grouped.shape[1]
        return grouped if group == 1 else grouped.repeat_interleave(group, dim=1)


@runs_remotely
def _dot(q: Tensor, k: Tensor) -> Tensor:
    """Return the products of rows with rows; on a GPU, an einsum would compute each as a product of matrices."""
    return torch.einsum("bhpd,bhpd->bhp", q, k) if q.device.type == "cpu" else (q * k).sum(-1)


@runs_remotely
def _to_multiple_of_8(states: Tensor) -> Tensor:
    """Return states with zeros behind each head's numbers, which change no score: the kernel needs rows of 16 bytes."""
    missing = -states.shape[-1] % 8
    return torch.nn.functional.pad(states, (0, missing)) if missing else states


@runs_remotely
def _rows(states: Tensor, positions: Int[Tensor, "batch pair"]) -> Tensor:
    """Return the positions' rows of [batch, head, pos, d_head], as [batch, head, pair, d_head]."""
    index = positions[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[-1])
    return states.gather(2, index)
