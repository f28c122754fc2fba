"""Weights put into an empty model."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from headcount.results import InputError


def fill(hf: Any, tensors: Mapping[str, Tensor]) -> None:
    """Put parameters and buffers into an empty model, by name; the tensors themselves, not copies.

    Raises:
        InputError: A tensor is missing, has another shape, belongs to nothing in the model, or is tied to another.
    """
    state = hf.state_dict(keep_vars=True).keys()
    transient = {name for name, _ in hf.named_buffers()} - state
    if unknown := sorted(tensors.keys() - state - transient):
        raise InputError(f"{len(unknown)} tensors belong to no part of a {type(hf).__name__}, first {unknown[0]}")
    try:
        hf.load_state_dict({name: tensors[name] for name in tensors.keys() & state}, strict=False, assign=True)
    except RuntimeError as error:
        raise InputError(" ".join(str(error).split())[:300]) from error
    for name in transient & tensors.keys():
        path, _, leaf = name.rpartition(".")
        hf.get_submodule(path).register_buffer(leaf, tensors[name], persistent=False)
    hf.tie_weights()
    _check_filled(hf, tensors)
    hf.requires_grad_(False)


def _check_filled(hf: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a model in which a parameter or buffer is not the tensor of its name."""
    if missing := sorted({name for name, _ in [*hf.named_parameters(), *hf.named_buffers()]} - tensors.keys()):
        raise InputError(f"{len(missing)} tensors are missing, first {missing[0]}")
    state = hf.state_dict()
    if tied := sorted(name for name in state.keys() & tensors if state[name].data_ptr() != tensors[name].data_ptr()):
        raise InputError(f"{tied[0]} is tied to another tensor in the configuration, but not in the model")
