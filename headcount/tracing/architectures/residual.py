"""The residual stream of one block: what is added to it, and with which factors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import isclose
from typing import Any

import torch
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.architectures.recording import ModuleCall, same, tolerance

_BIAS = "it adds a bias to the residual stream that is no module's output, so that parts do not sum to it"
_UNKNOWN = (
    "what it gives is not the sum of its input, an output of attention, and one or two of a feed-forward network, each "
    "times a factor at most"
)


@dataclass(frozen=True)
class Sums:
    """The sums of one block.

    Attributes:
        attention: The module whose output attention adds.
        mlp: The one whose output the feed-forward network adds; None if it is the sum of two modules' outputs, such as
            experts and a dense path beside them.
        middle: The residual stream between both.
        factor: The one factor of all that is added.
        beside: A module beside attention whose output is added too.
        fields: Fields of `Family` with further factors.
    """

    attention: ModuleCall
    mlp: ModuleCall | None
    middle: Tensor
    factor: float = 1.0
    beside: ModuleCall | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def only_part(calls: list[ModuleCall], block: ModuleCall) -> ModuleCall | None:
    """Return the module that is all of a block but a norm, and whose output is all that it adds; None if two parts are.

    Nemotron-H has such blocks: attention, a state space or a feed-forward network each.
    """
    heavy = [call for call in calls if not call.is_light]
    whole = [call for call in heavy if all(f"{other.name}.".startswith(f"{call.name}.") for other in heavy)]
    if not whole or whole[0].output.shape != block.output.shape:
        return None
    change = block.output - block.input
    error = (change - whole[0].output).abs().max()
    return whole[0] if error <= tolerance(change) * block.output.abs().max() else None


def treats_tokens_alone(call: ModuleCall) -> bool:
    """Return True if a module computes each token's output from that token: a feed-forward network does."""

    def changed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not same(value, call.input):
            return value
        other = value.clone()
        other[:, 2] = other[:, 2].flip(-1) + 1
        return other

    with torch.no_grad():
        given = call.module(*map(changed, call.args), **{name: changed(value) for name, value in call.kwargs.items()})
    output = given[0] if isinstance(given, tuple | list) else given
    rest = [pos for pos in range(output.shape[1]) if pos != 2]
    return same(output[:, rest], call.output[:, rest]) and not same(output[:, 2], call.output[:, 2])


def norms_after_sums(
    calls: list[ModuleCall], projection: ModuleCall | None, block: ModuleCall
) -> tuple[ModuleCall, ModuleCall] | None:
    """Return the norms that follow the sums of the residual stream with attention and feed-forward network, if any."""
    if projection is None:
        return None
    norms = [
        call
        for call in calls
        if call.is_light and any(True for _ in call.module.parameters()) and call.time > projection.time
    ]
    shaped = [call for call in norms if call.input.shape == call.output.shape == block.output.shape]
    if len(shaped) < 2 or not same(shaped[-1].output, block.output):
        return None
    total = block.input + projection.output.reshape(block.input.shape)
    return (shaped[0], shaped[-1]) if same(shaped[0].input, total) else None


def find_sums(
    calls: list[ModuleCall], caller: ModuleCall | None, projection: ModuleCall | None, block: ModuleCall
) -> Sums:
    """Return what attention and the feed-forward network add to the residual stream.

    In a block without attention heads the first of both is what takes attention's place.

    Args:
        calls: The calls of modules inside the block.
        caller: The attention module; None if the block has no attention heads.
        projection: W_O, likewise.
        block: The block.

    Raises:
        InputError: It adds in a way that is not known.
    """
    shaped = [call for call in calls if call.output.numel() == block.output.numel()]
    later = shaped
    if caller is not None and projection is not None:
        inside = f"{caller.name}."
        shaped = [call for call in shaped if not call.name.startswith(inside) or call is projection]
        later = [call for call in shaped if call.time >= projection.time]
    with_heads = caller is not None
    pairs = [
        (first, second)
        for first in later
        for second in shaped
        if first is not second and (with_heads or first.time < second.time)
    ]
    found = _plain_sums(shaped, later, pairs, block, with_heads) or _scaled_sums(
        calls, shaped, later, block, with_heads
    )
    if found is None:  # such as experts and a dense path beside them
        triples = [(first, *two) for first in later for two in combinations(shaped, 2) if first not in two]
        triples = [three for three in triples if with_heads or three[0].time < three[1].time]
        found = _plain_sums(shaped, later, triples, block, with_heads)
    if found is None:
        raise InputError(_BIAS if _best(pairs, block, centred=True) is not None else _UNKNOWN)
    return found


def _plain_sums(
    shaped: list[ModuleCall],
    later: list[ModuleCall],
    candidates: Sequence[tuple[ModuleCall, ...]],
    block: ModuleCall,
    with_heads: bool,
) -> Sums | None:
    """Return what is added to the residual stream as it is, all of it times one factor."""
    best = _best(candidates, block)
    if best is None:
        return None
    (attention, *others), factor = best
    factor = 1.0 if abs(factor - 1) < 10 * tolerance(block.output) else factor
    alike = [call for call in later if same(call.output, attention.output)]
    attention = alike[0 if with_heads else -1]
    middle = block.input + factor * attention.output.reshape(block.input.shape)
    return Sums(attention, None if len(others) == 2 else _last_alike(shaped, others[0]), middle, factor)


def _last_alike(calls: list[ModuleCall], given: ModuleCall) -> ModuleCall:
    """Return the last module, but for dropout, that returns the same."""
    return [call for call in calls if same(call.output, given.output) and not isinstance(call.module, nn.Dropout)][-1]


def _scaled_sums(
    calls: list[ModuleCall], shaped: list[ModuleCall], later: list[ModuleCall], block: ModuleCall, with_heads: bool
) -> Sums | None:
    """Return what is added where the residual stream has factors too, or a third module is beside attention.

    The stream between attention and the feed-forward network is then what a norm reads; the stream to which something
    is added may be what the norm before gives.
    """
    norms = [call for call in later if call.is_light and call.input.shape == call.output.shape == block.input.shape]
    before_all = [call for call in calls if call.is_light and same(call.input, block.input)]
    for norm in (norm for norm in norms if not same(norm.input, norm.output)):
        before = [call for call in later if call.time < norm.time]
        after = [(call,) for call in shaped if call.time > norm.time]
        others = [call for call in shaped if call.time < norm.time and not call.is_light]
        firsts: list[tuple[ModuleCall, ...]] = [(attention,) for attention in before]
        firsts += [(attention, other) for attention in before for other in others if other.time < attention.time]
        streams = [(block.input, norm.input), *((call.output, norm.output) for call in before_all)]
        for number, (stream, middle) in enumerate(streams):
            first = _combination(block.module, stream, firsts, norm.input)
            second = None if first is None else _combination(block.module, middle, after, block.output)
            if first is None or second is None:
                continue
            attention = first.calls[0] if with_heads else _last_alike(before, first.calls[0])
            fields = first.fields(second) | {"norms_in_stream": number > 0}
            beside = _last_alike(shaped, first.calls[1]) if len(first.calls) > 1 else None
            return Sums(attention, _last_alike(shaped, second.calls[0]), norm.input, 1.0, beside, fields)
    return None


@dataclass(frozen=True)
class _Combination:
    calls: tuple[ModuleCall, ...]
    stream: float
    gain: str
    factors: tuple[float, ...]

    def fields(self, second: "_Combination") -> dict[str, Any]:
        """Return the fields of `Family` of this sum with attention and the second one with the network."""
        return {
            "stream_factors": (self.stream, second.stream),
            "stream_gains": (self.gain, second.gain),
            "attention_factor": self.factors[0],
            "mlp_factor": second.factors[0],
            "beside_factor": self.factors[-1],
        }


def _combination(
    block: nn.Module, stream: Tensor, candidates: Sequence[tuple[ModuleCall, ...]], total: Tensor
) -> _Combination | None:
    """Return the calls whose outputs, times factors above zero, and a multiple of the residual stream sum to another.

    The stream's multiple may be a parameter of the block, channel by channel; outputs then have no factors.
    """
    allowed = tolerance(total) * float(total.abs().max())
    gains = [(name, gain) for name, gain in block.named_parameters(recurse=False) if gain.shape == total.shape[-1:]]
    for calls in candidates:
        outputs = [call.output.reshape(total.shape).double() for call in calls]
        parts = torch.stack([stream.double(), *outputs]).flatten(1)
        factors = torch.linalg.lstsq(parts.T, total.double().flatten()[:, None]).solution.flatten()
        if (factors @ parts - total.double().flatten()).abs().max() <= allowed and (factors > 1e-3).all():
            known = [_stated(block, float(factor), tolerance(total)) for factor in factors]
            return _Combination(calls, known[0], "", tuple(known[1:]))
        for name, gain in gains:
            if (gain.double() * stream.double() + sum(outputs) - total.double()).abs().max() <= allowed:
                return _Combination(calls, 1.0, name, (1.0,) * len(calls))
    return None


def _stated(block: nn.Module, factor: float, rounding: float) -> float:
    """Return the factor, or the number in a block that it is up to rounding."""
    stated = [1.0, *(value for value in vars(block).values() if isinstance(value, float))]
    return next((value for value in stated if isclose(value, factor, rel_tol=rounding)), factor)


def _best(
    candidates: Sequence[tuple[ModuleCall, ...]], block: ModuleCall, *, centred: bool = False
) -> tuple[tuple[ModuleCall, ...], float] | None:
    """Return the calls whose outputs, times one positive factor, sum to what a block adds; and the factor.

    With `centred`, up to numbers that are the same at all positions.
    """
    best: tuple[tuple[ModuleCall, ...], float] | None = None
    smallest = tolerance(block.output) * float(block.output.abs().max())
    change = block.output.double() - block.input.double()
    change = change - change.mean(1, keepdim=True) if centred else change
    for summands in candidates:
        total = torch.stack([call.output.double().reshape(change.shape) for call in summands]).sum(0)
        total = total - total.mean(1, keepdim=True) if centred else total
        factor = float((change * total).sum() / total.square().sum().clamp(min=1e-30))
        error = float((change - factor * total).abs().max())
        if error < smallest * (0.5 if best else 1) and factor > 0:
            best, smallest = (summands, factor), error
    return best
