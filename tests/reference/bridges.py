"""TransformerLens bridges around tiny models, made without a network."""

from copy import deepcopy
from typing import Any

from reference.models import bpe_tokenizer
from transformers import PreTrainedModel


def bridge(model: PreTrainedModel) -> Any:
    """Return a bridge around a copy of the model, which it would change.

    The tokenizer has no BOS: one that has is looked up again by a name, which a tokenizer made in memory lacks.
    """
    from transformer_lens.model_bridge import TransformerBridge

    copy = deepcopy(model)
    copy.config.architectures = [type(model).__name__]  # Gemma 3's text model is not recognised by its type
    return TransformerBridge.boot_transformers("tiny", hf_model=copy, tokenizer=bpe_tokenizer(bos=False))
