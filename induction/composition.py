"""Composition of all pairs of heads, from the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from headcount.induction.formulas.composition import composition_scores
from headcount.results import InputError, PairScores
from headcount.results.internal import checks
from headcount.tracing import Model, provenance
from headcount.tracing.internal import HeadMatrices, check_stream_of_sums, head_matrices

Kind = Literal["K", "Q", "V"]

DEFINITION = {
    "K": "K-composition: keys of the later head read what the earlier one writes",
    "Q": "Q-composition: queries of the later head read what the earlier one writes",
    "V": "V-composition: values of the later head read what the earlier one writes",
}


def composition(model: Model, kind: str = "K", *, progress: Callable[[int], Any] | None = None) -> PairScores:
    """Score every pair of heads by how much of what the earlier one can write the later one reads, from the weights.

    With W_OV = W_V W_O of the earlier head and the circuit of the later one, ||W_OV C||_F / (||W_OV||_F ||C||_F), where
    C = W_K W_Q^T (`K`), W_Q W_K^T (`Q`) or W_V W_O (`V`), [d_model, d_model] each and never formed. In models with
    grouped queries W_K and W_V are those of the head's group.

    Gains of norms, and the means that layer norms subtract, are folded into the matrices: those of the norm before
    attention, of a norm after it, and of norms of queries, keys and values. Norms also divide by a number that depends
    on the text, layers between the two heads change the residual stream, and biases add to it: no weights tell these.
    Rotary embeddings turn queries and keys by an angle that grows with their distance; `K` and `Q` leave it out, and
    are then approximate (`provenance["rotary"]`). Parts that are removed at present (`masked`) play no role. A pair
    with a high score can be unused: see `feeding_heads` for what a text makes of it.

    The `baseline` is 1 / sqrt(d_model): the root mean square of the score if one of the two circuits is turned by a
    random rotation of the residual stream, whatever the circuits are. With layer norms, which leave d_model - 1
    dimensions, it is 1 / sqrt(d_model - 1).

    Args:
        model: The model.
        kind: `K`, `Q` or `V`: the input of the later head.
        progress: Called with the number of layers done since the last call.

    Returns:
        The scores, 0 to 1; NaN where the second head is not in a later layer.

    Raises:
        InputError: The kind is unknown, the weights are on a server, or no matrix stands between the two heads: with
            norms or factors in the residual stream itself, latent attention, gates on the heads' outputs, quantised or
            pruned weights.

    Source: Elhage et al. 2021.
    """
    checks.check_one_of("kind", kind, get_args(Kind))
    _check_stream(model)
    sizes, layers = model.sizes, model.layers_with_heads
    values = torch.full((sizes.n_layers, sizes.n_heads, sizes.n_layers, sizes.n_heads), torch.nan)
    earlier: dict[int, tuple[Tensor, Tensor]] = {}
    centred = set()
    for later in layers:
        matrices = head_matrices(model, later)
        reads, other = _circuit(matrices, kind)
        for layer, (w_v, w_o) in earlier.items():
            factors = (w_v.to(reads.device), w_o.to(reads.device), reads, other)
            values[layer, :, later] = composition_scores(*factors).float().cpu()
        # Copies: a streamed block gives its memory to the next one.
        earlier[later] = (
            matrices.value.repeat_interleave(sizes.n_heads // len(matrices.value), 0),
            matrices.output.clone(),
        )
        centred.add(matrices.centred)
        if progress is not None:
            progress(1)
    settings = {
        "kind": kind,
        "rotary": kind != "V" and _is_rotary(model),
        "norms": "gains folded in, and the subtraction of the mean" if True in centred else "gains folded in",
        "baseline": "root mean square over random rotations of the residual stream between the two circuits",
    }
    return PairScores(
        values,
        measure="composition",
        definition=DEFINITION[kind],
        provenance=provenance(model, **settings),
        baseline=(sizes.d_model - (True in centred)) ** -0.5,
    )


def _circuit(matrices: HeadMatrices, kind: str) -> tuple[Tensor, Tensor]:
    """Return R of each group and P of each head, as `composition_scores` takes them."""
    size = len(matrices.query) // len(matrices.key)
    if kind == "K":
        return matrices.key, matrices.query
    if kind == "Q":
        return matrices.query, matrices.key.repeat_interleave(size, 0)
    return matrices.value, matrices.output.mT


def _is_rotary(model: Model) -> bool:
    """Return True if queries and keys are turned by their positions."""
    modules = any("Rotary" in type(module).__name__ for module in model.hf.modules())
    return modules or bool(getattr(model.hf.config, "rotary_dim", None))  # GPT-J, CodeGen: without a module


def _check_stream(model: Model) -> None:
    """Refuse models in which what a head adds does not reach later heads as it is, or whose weights are not here.

    Raises:
        InputError: This is one.
    """
    if model.server is not None:
        raise InputError(f"composition reads the weights, which {model.name} has on a server: open the model here")
    check_stream_of_sums(model)
