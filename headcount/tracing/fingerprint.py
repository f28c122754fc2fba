"""Fingerprints of weights: digests that are the same on every machine and for any number of threads."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from headcount.tracing.surgery import taken_out

_SAMPLE = 4096
_FACTOR = 0x1E3779B97F4A7C15
"""Large and without pattern, so that neighbouring places get factors that have nothing in common."""


def fingerprint(module: nn.Module) -> str:
    """A digest of a model's weights, the same on every machine and for any number of threads.

    It covers each parameter's name, shape, dtype, the sum of its bytes read as integers, and a sample of some 4,096 of
    these: one changed weight changes it, though a change made to evade it need not. On meta only names and shapes
    exist. What was taken out of a pruned model is covered as well.
    """
    removed = taken_out(module)
    first = "" if removed is None else f"{removed.heads.nonzero().tolist()} {removed.ffns.nonzero().tolist()}"
    return digest_of([first.encode(), *(piece(name, weight) for name, weight in sorted(module.state_dict().items()))])


def digest_of(pieces: Iterable[bytes]) -> str:
    """The digest of pieces one after another."""
    digest = hashlib.blake2b(digest_size=12)
    for one in pieces:
        digest.update(one)
    return digest.hexdigest()


def piece(name: str, weight: torch.Tensor) -> bytes:
    """What a fingerprint covers of one parameter."""
    said = f"{name} {list(weight.shape)} {weight.dtype}".encode()
    if weight.is_meta:
        return said
    sample = b"".join(part.cpu().numpy().tobytes() for part in _sample(weight))
    return said + str(int(_integers(weight)[0].sum())).encode() + sample  # the sum wraps around, in any order


def weights_state(module: nn.Module) -> tuple[Any, ...]:
    """What changes when weights change, and takes milliseconds to find out, so that a fingerprint can be kept.

    A weight that is replaced or changed in place shows in its address or version. A change behind autograd's back
    (through `.data` or NumPy) shows if it touches one of the sampled elements, as any but a very small one does.
    """
    weights = list(module.state_dict().values())
    versions = (0 if weight.is_inference() else weight._version for weight in weights)
    return (*zip((weight.data_ptr() for weight in weights), versions, strict=True), *_sums_of_samples(weights))


def _sums_of_samples(weights: Iterable[torch.Tensor]) -> Iterator[int]:
    """What is sampled of all weights, each times a factor of its own: one sum a device, since a GPU makes wait."""
    parts: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for weight in weights:
        for part in () if weight.is_meta else _sample(weight):
            parts.setdefault((part.device, part.dtype), []).append(part)
    for (device, _), some in parts.items():
        sampled = torch.cat(some).long()
        factors = torch.arange(len(sampled), device=device).mul_(_FACTOR).bitwise_or_(1)
        yield int(sampled.mul_(factors).sum())  # it wraps around; factors are odd, so that no bit of a number is lost


def _sample(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Some of a tensor's 64-bit integers, and the bytes that are left over, where the tensor is."""
    whole, rest = _integers(weights)
    return rest, whole[:: max(1, len(whole) // _SAMPLE)]


def _integers(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor's bytes read as 64-bit integers, and the bytes that are left over."""
    raw = weights.detach().contiguous().flatten().view(torch.uint8)
    if raw.storage_offset() % 8:  # weights that are a slice of others may begin anywhere
        raw = raw.clone()
    end = len(raw) // 8 * 8
    return raw[:end].view(torch.int64), raw[end:]
