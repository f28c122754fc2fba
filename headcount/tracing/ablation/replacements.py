"""Modules that replace those of pruned parts."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Constant(nn.Module):
    """Returns its bias, or zeros, for every input.

    Args:
        bias: The value at every position [d_model].
        elements: The number of elements of the tuple that is returned, of which the others are None; 0 for no tuple.
    """

    bias: nn.Parameter | None

    def __init__(self, bias: nn.Parameter | None = None, elements: int = 0) -> None:
        super().__init__()
        self.elements = elements
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor, *_: Any) -> Any:
        """Return the bias or zeros in the shape of `x`."""
        value = torch.zeros_like(x) if self.bias is None else torch.zeros_like(x) + self.bias
        return (value, *[None] * (self.elements - 1)) if self.elements else value


class NoHeads(nn.Module):
    """The attention of a layer without heads: it adds W_O's bias alone.

    Args:
        name: The output projection's name in this architecture.
        bias: Its bias.
        layer: The block's number, which is its key in the cache of generation.
    """

    def __init__(self, name: str, bias: nn.Parameter | None, layer: int) -> None:
        super().__init__()
        self.name, self.layer = name, layer
        self.add_module(name, Constant(bias))

    def forward(
        self, hidden_states: Tensor, past_key_values: Any = None, layer_past: Any = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Return W_O's bias as transformers' attention modules do; `layer_past` is GPT-NeoX's name for the cache."""
        cache = past_key_values if past_key_values is not None else layer_past
        if cache is not None:  # it counts the tokens so far by the length of its keys
            token = hidden_states[:, None, :, :1]
            cache.update(token, token, self.layer)
        return self.get_submodule(self.name)(hidden_states), None


class CutInEachPass(nn.Module):
    """The attention of a layer, cut to some heads when it runs: the cut weights are there for that time alone.

    Args:
        block: The block, whose attention is whole.
        attention: The path of the attention in it.
        cut: Cuts the attention of a block in place.
    """

    def __init__(self, block: nn.Module, attention: str, cut: Callable[[nn.Module], None]) -> None:
        super().__init__()
        self.attention, self.cut = attention, cut
        self.train(block.training)
        self._block = [_shell(block)]  # in a list: its modules are no parts of this one, which has no weights

    def forward(self, *args: Any, **options: Any) -> Any:
        """Return the output of the cut attention."""
        block = _shell(self._block[0]).train(self.training)
        self.cut(block)
        return block.get_submodule(self.attention)(*args, **options)


def _shell(module: nn.Module) -> nn.Module:
    """Return a copy of a module and of those in it, with the same weights."""
    shell = copy.copy(module)
    vars(shell)["_parameters"], vars(shell)["_buffers"] = dict(module._parameters), dict(module._buffers)
    vars(shell)["_modules"] = {name: part if part is None else _shell(part) for name, part in module._modules.items()}
    return shell


class PerQueryHead(nn.Linear):
    """Keys or values repeated for each query head; for groups that have become unequal.

    Args:
        projection: The projection to one head a group.
        groups: The group of each query head.
    """

    def __init__(self, projection: nn.Linear, groups: Int[Tensor, " head"]) -> None:
        super().__init__(projection.in_features, projection.out_features, projection.bias is not None, device="meta")
        self.weight, self.bias = projection.weight, projection.bias
        self.n_groups = int(groups.max()) + 1
        self.register_buffer("groups", groups.to(projection.weight.device), persistent=False)

    def forward(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes head_times_d_head"]:
        """Return the keys or values of every query head."""
        heads = super().forward(x).unflatten(-1, (self.n_groups, -1))
        return heads.index_select(-2, self.groups).flatten(-2)
