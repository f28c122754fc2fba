"""Fingerprints of weights: digests that identify a model's weights in results."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from headcount.tracing.removed_parts import pruned_parts

_SAMPLE = 4096
_FACTOR = 0x1E3779B97F4A7C15
"""Large and without pattern, so that neighbouring places get very different factors."""


def fingerprint(module: nn.Module) -> str:
    """Return a digest of a model's weights, the same on every machine and for any number of threads.

    It covers each parameter's name, shape, dtype, the sum of its bytes read as integers, and a sample of some 4,096 of
    these integers. One changed weight changes it; a change that is made to evade it may not. On meta it covers names
    and shapes. It covers as well which parts were taken out of a pruned model.
    """
    removed = pruned_parts(module)
    first = "" if removed is None else f"{removed.heads.nonzero().tolist()} {removed.ffns.nonzero().tolist()}"
    return digest_of(
        [first.encode(), *(covered_bytes(name, weight) for name, weight in sorted(module.state_dict().items()))]
    )


def digest_of(pieces: Iterable[bytes]) -> str:
    """Return the digest of pieces one after another."""
    digest = hashlib.blake2b(digest_size=12)
    for content in pieces:
        digest.update(content)
    return digest.hexdigest()


def covered_bytes(name: str, weight: torch.Tensor) -> bytes:
    """Return the bytes of one parameter that a fingerprint covers."""
    header = f"{name} {list(weight.shape)} {weight.dtype}".encode()
    if weight.is_meta:
        return header
    sample = b"".join(part.cpu().numpy().tobytes() for part in _sample(weight))
    return header + str(int(_integers(weight)[0].sum())).encode() + sample  # the sum wraps around, in any order


def weights_state(module: nn.Module) -> tuple[Any, ...]:
    """Return values that change when weights change; they take milliseconds, so that a fingerprint can be reused.

    A weight that is replaced or changed in place shows in its address or version. A change that autograd does not
    notice (through `.data` or NumPy) shows if it touches a sampled element, as all but very small changes do.
    """
    weights = [_plain(weight) for weight in module.state_dict().values()]
    versions = (0 if weight.is_inference() else weight._version for weight in weights)
    return (*zip((weight.data_ptr() for weight in weights), versions, strict=True), *_sums_of_samples(weights))


def _sums_of_samples(weights: Iterable[torch.Tensor]) -> Iterator[int]:
    """Yield, for each device, the sum of all weights' samples, each integer times a factor that depends on its place.

    There is one sum a device, since each transfer from a GPU waits for it.
    """
    parts: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for weight in weights:
        for part in () if weight.is_meta else _sample(weight):
            parts.setdefault((part.device, part.dtype), []).append(part)
    for (device, _), samples in parts.items():
        sampled = torch.cat(samples).long()
        factors = torch.arange(len(sampled), device=device).mul_(_FACTOR).bitwise_or_(1)
        yield int(sampled.mul_(factors).sum())  # it wraps around; factors are odd, so that no bit of a number is lost


def _plain(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight as numbers: quantised ones of a class that hides its bytes are dequantised."""
    hidden = type(weight.data) is not torch.Tensor and hasattr(weight, "dequantize")
    return weight.dequantize() if hidden else weight


def _sample(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bytes that are left over, and some of a tensor's 64-bit integers, on the tensor's device."""
    whole, rest = _integers(weights)
    return rest, whole[:: max(1, len(whole) // _SAMPLE)]


def _integers(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a tensor's bytes read as 64-bit integers, and the bytes that are left over."""
    raw = _plain(weights).detach().contiguous().flatten().view(torch.uint8)
    if raw.storage_offset() % 8:  # a slice of other weights may begin anywhere
        raw = raw.clone()
    end = len(raw) // 8 * 8
    return raw[:end].view(torch.int64), raw[end:]
