"""Shares of tokens that a mixture's router sends to each expert, on the examples of an importance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.remote_code import runs_remotely
from headcount.tracing import BatchSize, Hook, Model, Recorder
from headcount.tracing.internal import Prepared, over_all_layers, pad, run_batches, to_device


@runs_remotely
class CountRouted(Recorder):
    """Records the number of tokens that go to each expert of a layer, [batch, expert]; padding does not count."""

    def __init__(self, lengths: Tensor) -> None:
        super().__init__()
        self.lengths = lengths

    def __call__(self, weights: Tensor, hook: Hook) -> None:
        """Record the counts."""
        real = torch.arange(weights.shape[1])[None] < self.lengths[:, None]
        self.records.append(((weights != 0) & real.to(weights.device)[..., None]).sum(1))


def routed_shares(
    model: Model, requests: Sequence[EncodedRequest], batch_size: BatchSize = "auto"
) -> Float[Tensor, "layer expert"]:
    """Return the share of the tokens read that the router sends to each expert, in one forward pass.

    Where k experts are chosen for each token, a layer's shares sum to k. An expert that is removed has 0.

    Args:
        model: A mixture of experts.
        requests: The examples; all their tokens but the last are read.
        batch_size: Examples run together.

    Returns:
        Shares from 0 to 1; NaN in layers that are no mixture.
    """
    layers = model.anatomy.layers_with_experts()
    rows = [torch.tensor(request.ids[:-1]) for request in requests]

    def prepare(batch: list[int]) -> Prepared[Tensor]:
        record = CountRouted(torch.tensor([len(rows[index]) for index in batch]))
        hooks = [(f"blocks.{layer}.mlp.hook_router", record) for layer in layers]
        forward = model.pass_until_last(pad([rows[index] for index in batch], model.device), hooks)
        return [forward], lambda _: list(torch.stack(to_device("cpu", record.records), dim=1))

    counts = torch.stack(run_batches(model, prepare, [len(row) for row in rows], batch_size))
    return over_all_layers(model, counts.sum(0) / sum(map(len, rows)), 0, layers)
