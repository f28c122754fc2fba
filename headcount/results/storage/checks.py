"""Checks of values that results share: plain tensors of stated shapes, counts, and data that JSON can hold."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.storage.field_types import fits, is_whole, shown


def plain_tensor(name: str, values: Any) -> Tensor:
    """Copy numbers from any device and form into a float32 tensor on the CPU, free of any graph.

    Args:
        name: The name of the numbers, for the error message.
        values: A tensor of any floating or integer dtype and device, a NumPy array, or nested lists.

    Returns:
        A contiguous float32 tensor that shares no memory with `values`.

    Raises:
        InputError: `values` are not real numbers in a rectangular arrangement, or one that is finite is beyond what
            float32 can hold.
    """
    try:
        source = values.detach() if isinstance(values, Tensor) else _from_array(np.array(values))
        if source.is_complex():
            raise TypeError("complex numbers")
        plain = source.to("cpu", torch.float32, copy=True).contiguous()
        lost = plain.isinf()
        if bool(lost.any()) and bool(source.cpu()[lost].isfinite().any()):
            raise ValueError("a number beyond 3.4e38, the largest of float32")
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{type(values).__name__} ({error})"
        raise InputError(f"{name}: expected real numbers in a rectangular array, got {got}") from error
    return plain


def _from_array(array: NDArray[Any]) -> Tensor:
    """Return an array as a float64 tensor; one of text or objects, such as integers beyond 64 bits, is refused."""
    if array.dtype.kind not in "biuf":
        raise TypeError("complex numbers" if array.dtype.kind == "c" else f"{array.dtype.name} in it")
    return torch.from_numpy(array.astype(np.float64))


def check_shape(name: str, tensor: Tensor, axes: Sequence[str], sizes: Sequence[int | None]) -> None:
    """Compare a tensor's shape with the expected one.

    Args:
        name: The name of the tensor, for the error message.
        tensor: Any tensor.
        axes: The name of each axis, such as `("layer", "head")`.
        sizes: The expected length of each axis; None stands for any length of at least one.

    Raises:
        InputError: The rank or a length differs, or an axis is empty.
    """
    expected = [axis if size is None else f"{axis}={size}" for axis, size in zip(axes, sizes, strict=True)]
    matches = tensor.ndim == len(sizes) and all(
        got > 0 and size in (got, None) for got, size in zip(tensor.shape, sizes, strict=True)
    )
    if not matches:
        raise InputError(f"{name}: expected shape [{', '.join(expected)}], got {list(tensor.shape)}")


def check_variance(variance: Tensor | None) -> None:
    """Refuse negative variances; NaN, the variance of a single observation, is allowed, and so is None.

    Raises:
        InputError: An entry is below zero.
    """
    if variance is not None and bool((variance < 0).any()):
        raise InputError(f"variance: expected numbers of at least 0, got {variance[variance < 0].min().item():g}")


def texts(name: str, values: Any) -> tuple[str, ...]:
    """Copy a sequence of texts.

    Args:
        name: The name of the texts, for the error message.
        values: A list or tuple of strings.

    Raises:
        InputError: It is something else, one string included.
    """
    if not fits(values, tuple[str, ...]):
        raise InputError(f"{name}: expected a list of texts, got {shown(values)}")
    return tuple(values)


def check_count(name: str, count: Any) -> None:
    """Require a whole number of at least 1, and below 2^63.

    Raises:
        InputError: `count` is anything else.
    """
    if not is_whole(count) or count < 1:
        raise InputError(f"{name}: expected a whole number of at least 1, got {shown(count)}{int_advice(count)}")


def check_seed(seed: Any) -> None:
    """Require a seed of 0 or more, and below 2^63.

    Raises:
        InputError: `seed` is anything else.
    """
    if not is_whole(seed) or seed < 0:
        raise InputError(
            f"expected a seed of 0 or more, got {shown(seed)}: pass a whole number below 2^63{int_advice(seed)}"
        )


def int_advice(value: Any) -> str:
    """Return advice, to end a message with, for a whole number of NumPy's or torch's; files cannot hold those."""
    return f", and Python's own: int({value!r:.40})" if hasattr(value, "__index__") and hasattr(value, "item") else ""


def check_one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Require one of a few words.

    Raises:
        InputError: `value` is anything else.
    """
    if value not in allowed:
        raise InputError(f"{name}: expected one of {', '.join(allowed)}, got {shown(value)}")


def json_dict(name: str, value: Any) -> dict[str, Any]:
    """Copy a dict through JSON, so that the copy is exactly what a file gives back.

    Args:
        name: The name of the dict, for the error message.
        value: A dict with string keys; in it lists, strings, finite numbers, booleans, None and more such dicts.

    Returns:
        An independent copy; tuples have become lists.

    Raises:
        InputError: Something in it, or a key, has no faithful JSON form.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: expected a dict, got {type(value).__name__}")
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: expected what JSON can hold, got something else ({error})") from error
    _check_keys(name, value)
    return copy


def _check_keys(name: str, value: Any) -> None:
    """Refuse keys that JSON would turn into strings without a word."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InputError(f"{name}: expected strings as keys, got {key!r}")
            _check_keys(name, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(name, inner)
