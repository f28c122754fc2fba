"""Activations by hook name, which `run_with_cache` returns beside the logits."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from headcount.results import InputError

Key = str | tuple[str, int] | tuple[str, int, str]

# TransformerLens' other names for activations and for the parts of a block.
_ALIASES = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "query": "q",
    "key": "k",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_post": "post",
}
_PARTS = {"a": "attn", "attention": "attn", "m": "mlp", "b": "", "block": "", "blocks": ""}


class Cache(Mapping[str, Tensor]):
    """Detached activations of one forward pass, by hook name.

    `cache["blocks.3.attn.hook_pattern"]`, or short, as in TransformerLens: `cache["pattern", 3]`, from the end
    `cache["pattern", -1]`, `cache["normalized", 3, "ln1"]`, `cache["embed"]`, `cache["k6"]`.
    """

    def __init__(self, activations: dict[str, Tensor], n_layers: int) -> None:
        self._activations, self._n_layers = activations, n_layers

    def __getitem__(self, key: Key) -> Tensor:
        """Return the activation under a full or short name.

        Raises:
            InputError: It was not cached.
        """
        name = self._full_name(key)
        if name is None:
            raise InputError(f"{key!r} is not in the cache, which holds {', '.join(self._activations) or 'nothing'}")
        return self._activations[name]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the activation under a full or short name, or the default if it was not cached."""
        name = self._full_name(key)
        return default if name is None else self._activations[name]

    def __contains__(self, key: object) -> bool:
        return self._full_name(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        return f"Cache of {len(self)} activations: {', '.join(self)}"

    def _full_name(self, key: object) -> str | None:
        """Return the hook name that is cached under a key, or None."""
        return next((name for name in _candidates(key, self._n_layers) if name in self._activations), None)


def _candidates(key: Any, n_layers: int) -> list[str]:
    """Return the hook names that a key may stand for."""
    if isinstance(key, str):
        numbered = re.fullmatch(r"([a-z_]+)(\d+)([a-z]?.*)", key)
        if numbered is None:
            return [key, f"hook_{key}", f"ln_final.hook_{key}"]
        name, layer, part = numbered[1], int(numbered[2]), numbered[3]
    elif isinstance(key, tuple) and len(key) in (2, 3) and str(key[1]).lstrip("-").isdigit():
        name, layer, part = key[0], int(key[1]), key[2] if len(key) == 3 else None
    else:
        return []
    layer = layer if layer >= 0 else n_layers + layer
    parts = [_PARTS.get(part, part)] if part else ["", "attn", "mlp", "ln1"]
    return [f"blocks.{layer}.{part}.hook_{_ALIASES.get(name, name)}".replace("..", ".") for part in parts]
