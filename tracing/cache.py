"""What `run_with_cache` returns beside the logits: activations by hook name."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from results import InputError

Key = str | tuple[str, int] | tuple[str, int, str]


class Cache(Mapping[str, Tensor]):
    """Detached activations of one forward pass, by hook name.

    `cache["blocks.3.attn.hook_pattern"]`, or short, as in TransformerLens: `cache["pattern", 3]`,
    `cache["normalized", 3, "ln1"]`, `cache["embed"]`.
    """

    def __init__(self, activations: dict[str, Tensor]) -> None:
        self._activations = activations

    def __getitem__(self, key: Key) -> Tensor:
        """The activation under a full or short name.

        Raises:
            InputError: It was not cached.
        """
        found = next((name for name in _candidates(key) if name in self._activations), None)
        if found is None:
            raise InputError(f"{key!r} is not in the cache, which holds {', '.join(self._activations) or 'nothing'}")
        return self._activations[found]

    def __contains__(self, key: object) -> bool:
        return any(name in self._activations for name in _candidates(key))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        return f"Cache of {len(self)} activations: {', '.join(self)}"


def _candidates(key: Key) -> list[str]:
    """The full names that a key may stand for."""
    if isinstance(key, str):
        return [key, f"hook_{key}"]
    name, layer, *part = key
    parts = [f"{part[0]}."] if part else ["", "attn.", "mlp.", "ln1."]
    return [f"blocks.{layer}.{prefix}hook_{name}" for prefix in parts]
