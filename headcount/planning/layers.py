"""The costs of each layer of a model, by its matrices: layers of one model may differ."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from headcount.results import InputError
from headcount.tracing import Model


@dataclass(frozen=True)
class Layer:
    """The matrices of a layer.

    Attributes:
        heads: The number of attention heads; 0 if it has none.
        key_width: The width of a head's queries and keys.
        value_width: The width of a head's values.
        query_parameters: Parameters of attention's matrices but W_K and W_V, or of those in attention's place.
        key_parameters: Parameters of W_K and W_V, where they are shared by KV groups.
        output_parameters: Parameters of W_O, among the first.
        network_parameters: Parameters of the feed-forward network's matrices that one token passes.
        network_stored: Parameters of all of these matrices; more in a mixture of experts.
        network_skipped: True if a pass for attention alone leaves the network out.
        d_mlp: The width of the network, over all experts that a token passes.
        parameters: All parameters of the layer.
    """

    heads: int
    key_width: int
    value_width: int
    query_parameters: int
    key_parameters: int
    output_parameters: int
    network_parameters: int
    network_stored: int
    network_skipped: bool
    d_mlp: int
    parameters: int

    @property
    def attention_parameters(self) -> int:
        """The number of parameters of attention's matrices."""
        return self.query_parameters + self.key_parameters


def layers_of(model: Model) -> tuple[Layer, ...]:
    """Return the costs of each layer of a model, which may be on meta.

    Raises:
        InputError: A layer has experts that cannot be told apart, so that the number which a token passes is not known.
    """
    first = model.layers_with_heads[0]
    wider = model.sizes.d_head - _value_width(model, first)  # in latent attention keys are wider than values
    return tuple(_layer(model, layer, wider) for layer in range(model.sizes.n_layers))


def _layer(model: Model, number: int, wider: int) -> Layer:
    family, sizes, block = model.paths(number), model.sizes, _block(model, number)
    attention = family.attention or family.attention_added.partition(".")[0]
    of_attention, network = dict[str, int](), 0
    for name, weight in block.named_parameters():
        path, _, leaf = name.rpartition(".")
        if name.startswith(f"{attention}."):
            if _is_matrix(name, weight) or (weight.dim() == 3 and "conv" not in name):  # one matrix a head, say
                of_attention[path if leaf == "weight" else name] = weight.numel()
        elif _is_matrix(name, weight) and not (family.experts and name.startswith(f"{family.experts}.")):
            network += weight.numel()
    keys = sum(of_attention.get(path, 0) for path in (family.key, family.value))
    if family.fused:
        keys = of_attention[family.fused] * 2 * sizes.n_kv_heads // (sizes.n_heads + 2 * sizes.n_kv_heads)
    stored = _experts(model, number, attention)
    chosen = stored * sizes.experts_per_token // max(1, sizes.n_experts)
    value_width = _value_width(model, number)
    return Layer(
        heads=sizes.n_heads if family.attention else 0,
        key_width=value_width + wider if family.attention else 0,
        value_width=value_width,
        query_parameters=sum(of_attention.values()) - keys,
        key_parameters=keys,
        output_parameters=of_attention.get(family.output, 0),
        network_parameters=network + chosen,
        network_stored=network + stored,
        network_skipped=not family.mlp_returns_more,
        d_mlp=(network + chosen) // (sizes.d_model * (3 if family.mlp_gate or stored else 2)),
        parameters=sum(weight.numel() for weight in block.parameters()),
    )


def _block(model: Model, number: int) -> Any:
    return model.hf.get_submodule(f"{model.family.layers}.{number}")


def _value_width(model: Model, number: int) -> int:
    """Return the width of a head's values, of which W_O reads one a head; 0 without heads."""
    family = model.paths(number)
    if not family.attention:
        return 0
    weight = _block(model, number).get_submodule(family.output).weight
    return int(weight.numel() // model.sizes.d_model // model.sizes.n_heads)


def _is_matrix(name: str, weight: Tensor) -> bool:
    """Return True for the matrix of a projection; norms may have weights of several axes."""
    path, _, leaf = name.rpartition(".")
    return weight.dim() == 2 and leaf == "weight" and "norm" not in path.rpartition(".")[2]


def _experts(model: Model, number: int, attention: str) -> int:
    """Return the number of parameters of all experts' matrices; there are none in the module `attention`.

    Raises:
        InputError: There are experts, and how many of them a token passes is not known.
    """
    path, count = model.paths(number).experts, 0
    for name, weight in _block(model, number).named_parameters():
        inside = bool(path) and name.startswith(f"{path}.")
        if not inside and weight.dim() == 3 and "conv" not in name and not name.startswith(f"{attention}."):
            raise InputError(f"what layer {number} of {model.name} costs is not known: it has experts of another kind")
        if inside and not name.endswith("bias"):
            count += weight.numel()
    return count
