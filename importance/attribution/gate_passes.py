"""Gradient steps of gates on heads: forward and backward passes in which each head's output is scaled by its gate.

Adam's state is in the hooks, so that all steps of a fit may be one request. The hooks travel to wherever the model is
(see `headcount.remote_code`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.attribution.gradient_passes import SumOfLosses
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import build_tree
from headcount.importance.likelihoods.tree_passes import logit_positions, tree_pass
from headcount.remote_code import runs_remotely
from headcount.tracing import Hook, Model, Progress
from headcount.tracing.internal import RecordGradient, over_all_layers

if TYPE_CHECKING:
    from headcount.tracing.internal import ForwardPass

RATE = 0.1
"""The size of Adam's steps, in logits of gates."""


class Fit(NamedTuple):
    """The end of a fit.

    Attributes:
        logits: The gates' logits; NaN in layers without heads.
        losses: The loss of each step's examples before the step, in nats per token.
    """

    logits: Float[Tensor, "layer head"]
    losses: list[float]


def fit_gates(
    model: Model,
    batches: Sequence[Sequence[EncodedRequest]],
    logits: Float[Tensor, "layer head"],
    means: Float[Tensor, "layer head d_head"] | None,
    penalty: float,
    loss_scale: float,
    progress: Progress | None = None,
) -> Fit:
    """Return the logits of gates after one step of Adam on each batch, and the loss before each step.

    Args:
        model: The model, in memory or on a server.
        batches: The examples of each step.
        logits: The gates' logits at the beginning.
        means: The output of a head whose gate is closed; None for zeros.
        penalty: The price of each open gate, in nats; below 0 it is paid for closed ones.
        loss_scale: Factor of the loss before the backward pass; steps with infinite gradients are left out.
        progress: Called after each step with 1; on a server after all.
    """
    layers = model.layers_with_heads
    hooks = [Gates(logits[layer], None if means is None else means[layer], penalty, loss_scale) for layer in layers]
    passes = [_step(model, batch, layers, hooks, loss_scale) for batch in batches]
    losses: list[float] = []
    for group in [passes] if model.server is not None else [[step] for step in passes]:
        losses += [float(loss.detach()) / loss_scale for loss in model.run_passes(group)]
        if progress is not None:
            progress(len(group))
    return Fit(over_all_layers(model, torch.stack([hook.records[0] for hook in hooks]), 0), losses)


def _step(
    model: Model, batch: Sequence[EncodedRequest], layers: Sequence[int], hooks: Sequence[Gates], loss_scale: float
) -> ForwardPass:
    """Return the pass of one step: its result is the mean over examples of the loss, each the mean over its tokens."""
    trees = [build_tree([request]) for request in batch]
    positions = logit_positions(trees, model.device)
    counts = torch.tensor([len(tree.targets[0]) for tree in trees], device=model.device)
    placed: list[tuple[str, Any]] = [
        (f"blocks.{layer}.attn.hook_z", hook) for layer, hook in zip(layers, hooks, strict=True)
    ]
    with torch.enable_grad():
        return tree_pass(model, trees, positions, placed, SumOfLosses(positions, counts * len(batch), loss_scale))


@runs_remotely
class Gates(RecordGradient):
    """Scales the z of each head of a layer by its gate, and moves the gates by Adam when their gradient is known.

    The record is the gates' logits after the latest step.

    Args:
        logits: The gates' logits.
        means: The output of a head whose gate is closed, [head, d_head]; None for zeros.
        penalty: The price of each open gate.
        loss_scale: Divisor of the gradients.
    """

    def __init__(self, logits: Float[Tensor, " head"], means: Tensor | None, penalty: float, loss_scale: float) -> None:
        super().__init__(self.step)
        self.logits, self.means = logits.clone(), means
        self.penalty, self.loss_scale = penalty, loss_scale
        self.first, self.second = torch.zeros_like(logits), torch.zeros_like(logits)
        self.steps = 0

    def __call__(self, z: Tensor, hook: Hook) -> Tensor:
        """Return the scaled z: mean + gate · (z - mean)."""
        wide = z.to(torch.promote_types(z.dtype, torch.float32))
        gates = self.logits.to(wide).sigmoid().requires_grad_()
        self.values.append(gates)
        if self.means is None:
            return gates[:, None] * wide
        # Where the values of layers have several widths, narrower ones are filled up.
        mean = self.means[:, : z.shape[3]].to(wide)
        return mean + gates[:, None] * (wide - mean)

    def step(self, gates: Tensor, gradient: Tensor) -> Tensor:
        """Move the gates, and return their logits."""
        slope = (gates * (1 - gates) * (gradient / self.loss_scale + self.penalty)).float().cpu()
        if slope.isfinite().all():
            self.steps += 1
            self.first, self.second = 0.9 * self.first + 0.1 * slope, 0.999 * self.second + 0.001 * slope**2
            mean, size = self.first / (1 - 0.9**self.steps), self.second / (1 - 0.999**self.steps)
            self.logits = self.logits - RATE * mean / (size.sqrt() + 1e-8)
        self.records.clear()
        return self.logits
