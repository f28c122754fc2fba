"""Norms of a model whose parts were found by running it: do they compute what `hook_normalized` promises?"""

from typing import Any

import torch
from torch import nn

from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.recording import same
from headcount.tracing.hooks.modules import affine, normalised

REASON = "this norm does more than to normalise, to multiply by a gain and to add a bias"


def unusual_norms(hf: Any, anatomy: Anatomy) -> dict[str, str]:
    """Return the hooks at norms that are not x normalised, times a gain, plus a bias; and for each the reason."""
    hooks = {"ln_final.hook_normalized": anatomy.family.final_norm}
    for layer in range(anatomy.sizes.n_layers):
        block, family = f"{anatomy.family.layers}.{layer}.", anatomy.block(layer)
        for number, path in ((1, family.norm_1), (2, family.norm_2)):
            hooks[f"blocks.{layer}.ln{number}.hook_normalized"] = block + path if path else ""
    return {
        name: REASON
        for name, path in hooks.items()
        if path and not _is_usual(hf.get_submodule(path), anatomy.sizes.d_model)
    }


def _is_usual(norm: nn.Module, d_model: int) -> bool:
    weight = next(norm.parameters(), torch.zeros(0))
    if weight.is_meta:  # its weights come when it runs
        return True
    numbers = torch.arange(3 * d_model, device=weight.device).reshape(1, 3, d_model)
    x = (numbers * 0.7).sin().to(weight.dtype if weight.numel() else torch.float32) + 0.1
    with torch.no_grad():
        return same(affine(norm, normalised(norm, x)), norm(x))
