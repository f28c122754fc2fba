"""The sizes of a model, under their usual names."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model: the lengths of the axes of all tensors that the toolkit returns."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    """The number of KV groups: smaller than `n_heads` where query heads share keys and values."""
    d_model: int
    d_head: int
    """The width of a head's queries and keys, and of its values but in latent attention (MLA)."""
    d_mlp: int
    vocab: int
    """The number of rows of the embedding, which may exceed the number of the tokenizer's tokens."""
    context: int
    """The length of the longest sequence that the model takes, in tokens."""
    n_experts: int = 0
    """The number of experts of a layer with a mixture, not counting those that every token passes; 0 without any."""
    experts_per_token: int = 0
    """The number of experts that a token passes; 0 without any."""

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """Return the sizes in the configuration of a type that is described."""
        d_model, n_heads = config.hidden_size, config.num_attention_heads
        return cls(
            n_layers=config.num_hidden_layers,
            n_heads=n_heads,
            n_kv_heads=getattr(config, "num_key_value_heads", None) or n_heads,
            d_model=d_model,
            d_head=getattr(config, "head_dim", None) or d_model // n_heads,
            d_mlp=_first(config, "ffn_dim", "intermediate_size", "n_inner") or 4 * d_model,
            vocab=config.vocab_size,
            context=context_of(config),
        )


def context_of(config: Any) -> int:
    """Return the length of the longest sequence that a model takes, in tokens; without a limit, a large number."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    return next((value for name in names if (value := getattr(config, name, None)) is not None), 1 << 20)


def _first(config: Any, *names: str) -> int | None:
    """Return the first of these settings that the configuration has and that is not empty."""
    return next((value for name in names if (value := getattr(config, name, None))), None)
