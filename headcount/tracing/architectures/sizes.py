"""The sizes of a model, in the field's names."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """How large a model is; the axes of every tensor the toolkit hands out."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    """Key and value heads: fewer than `n_heads` where groups of query heads share them."""
    d_model: int
    d_head: int
    d_mlp: int
    vocab: int
    """Rows of the embedding, which may be more than the tokenizer has tokens."""
    context: int
    """The longest sequence the model takes, in tokens."""

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """Read the sizes from a transformers configuration."""
        d_model, n_heads = config.hidden_size, config.num_attention_heads
        return cls(
            n_layers=config.num_hidden_layers,
            n_heads=n_heads,
            n_kv_heads=getattr(config, "num_key_value_heads", None) or n_heads,
            d_model=d_model,
            d_head=getattr(config, "head_dim", None) or d_model // n_heads,
            d_mlp=_first(config, "ffn_dim", "intermediate_size", "n_inner") or 4 * d_model,
            vocab=config.vocab_size,
            context=config.max_position_embeddings,
        )


def _first(config: Any, *names: str) -> int | None:
    """The first of these settings that the configuration has and that is set."""
    return next((value for name in names if (value := getattr(config, name, None))), None)
