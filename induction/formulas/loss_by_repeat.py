"""Loss on repeated sequences, repeat by repeat: how much better a model predicts what it has already read.

In-context learning as Olsson et al. 2022 measure it and Bansal et al. 2023, section 2.2, define it: loss late in the
context minus loss early in it. All losses are in nats per token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from headcount.remote_code import runs_remotely
from headcount.results import InputError


class RepeatStatistics(NamedTuple):
    """Loss by repeat over sequences; variance and standard error are NaN for a single sequence.

    Attributes:
        loss: Mean loss of each repeat, [repeat].
        variance: Unbiased variance of it over sequences, [repeat].
        late_minus_early: Mean loss of the last repeat minus that of the first; below 0, the model learns in context.
        late_minus_early_stderr: Standard error of `late_minus_early`, from the differences within each sequence.
        n: The number of sequences.
    """

    loss: Float32[Tensor, " repeat"]
    variance: Float32[Tensor, " repeat"]
    late_minus_early: Float32[Tensor, ""]
    late_minus_early_stderr: Float32[Tensor, ""]
    n: int


@runs_remotely
def token_loss(
    logits: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float32[Tensor, "batch pos-1"]:
    """Return the loss of every token that has something before it: −log p(t_j | t_0 .. t_{j−1}), j = 1 and up.

    Args:
        logits: The model's output, in any floating dtype; the loss is float32 all the same.
        tokens: The token ids that it read.

    Returns:
        Loss in nats; entry j − 1 belongs to the token at position j.

    Raises:
        InputError: There are fewer than two positions.
    """
    if tokens.shape[1] < 2:
        raise InputError(f"expected sequences of 2 tokens or more, got shape {tuple(tokens.shape)}: pass longer ones")
    predicted, target = logits[:, :-1].float(), tokens[:, 1:].long()
    # The vocabulary last, as it lies in memory: a softmax over it is many times as fast as over a middle axis.
    return cross_entropy(predicted.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)


def loss_by_repeat(loss: Float[Tensor, "batch predicted"], period: int, bos: bool) -> Float32[Tensor, "batch repeat"]:
    """Average the loss over each repeat of the period.

    A token belongs to the repeat it stands in. Without BOS nothing predicts the very first token, so the first repeat
    has one loss less.

    Args:
        loss: Loss of every token but the first, as from `token_loss`.
        period: Tokens per repeat.
        bos: True if the sequences begin with BOS, which belongs to no repeat.

    Returns:
        Mean loss of each repeat, in nats per token.

    Raises:
        InputError: The losses are not those of two or more whole repeats.
    """
    unpredicted = 0 if bos else 1
    repeats = _whole_repeats(loss.shape[1] + unpredicted, period, bos)
    sizes = [period - unpredicted] + [period] * (repeats - 1)
    return torch.stack([part.float().mean(1) for part in torch.split(loss, sizes, dim=1)], dim=1)


def repeat_statistics(by_repeat: Float[Tensor, "sequence repeat"]) -> RepeatStatistics:
    """Summarise loss by repeat over sequences, whose periods may differ.

    The standard error is sqrt(s² / n), where s² is the unbiased variance of last minus first repeat.

    Args:
        by_repeat: Loss of each sequence's repeats, as from `loss_by_repeat`.

    Returns:
        Means and variances by repeat, and the change from the first to the last.

    Raises:
        InputError: There is no sequence, or fewer than two repeats.
    """
    n, repeats = by_repeat.shape
    if n < 1 or repeats < 2:
        raise InputError(f"expected 1 sequence or more of 2 repeats or more, got {n} of {repeats}: pass more")
    values = by_repeat.float()
    change = values[:, -1] - values[:, 0]
    return RepeatStatistics(
        loss=values.mean(0),
        variance=_variance(values),
        late_minus_early=change.mean(),
        late_minus_early_stderr=(_variance(change) / n).sqrt(),
        n=n,
    )


def _whole_repeats(tokens: int, period: int, bos: bool) -> int:
    """Return the number of repeats in `tokens` tokens, BOS not among them."""
    shortest = 1 if bos else 2
    if period < shortest:
        raise InputError(f"expected a period of {shortest} or more, got {period}: pass the period of the sequences")
    repeats, rest = divmod(tokens, period)
    if rest or repeats < 2:
        raise InputError(
            f"expected losses of two or more whole repeats of {period} tokens, got losses of {tokens} tokens "
            f"{'after' if bos else 'without'} BOS: pass the sequences' own period, and bos=True only if they have BOS"
        )
    return repeats


def _variance(values: Float32[Tensor, "sequence ..."]) -> Float32[Tensor, ...]:
    return values.var(0) if len(values) > 1 else torch.full_like(values[0], torch.nan)
