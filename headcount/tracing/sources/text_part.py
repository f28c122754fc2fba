"""The language model of a multimodal one: its text decoder and unembedding, as a causal language model."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

from headcount.results import InputError
from headcount.tracing.architectures.recording import same

_CLASSES = set(MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.values())


class TextDecoder(PreTrainedModel):  # type: ignore[misc]
    """A causal language model of a text decoder for which transformers has none, such as Qwen2-VL's.

    Attributes:
        decoder: The decoder's class; each subclass has one.
    """

    config_class = PreTrainedConfig
    base_model_prefix = "model"
    decoder: ClassVar[type[PreTrainedModel]]
    _supports_sdpa = _supports_attention_backend = True
    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids: Tensor | None = None, **options: Any) -> CausalLMOutput:
        """Return the logits."""
        return CausalLMOutput(logits=self.lm_head(self.model(input_ids=input_ids, **options).last_hidden_state))


def is_multimodal(hf: Any) -> bool:
    """Return True for a transformers model that reads images or sounds beside text."""
    named = any(cls.__name__ in _CLASSES for cls in type(hf).__mro__)
    return named and type(text_config(hf.config)) is not type(hf.config)


def text_config(config: Any) -> Any:
    """Return the configuration of the text decoder in a multimodal model's; any other configuration itself."""
    if config.model_type not in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES:
        return config
    return config.get_text_config(decoder=True)


def text_part(hf: Any) -> Any:
    """Return the language model of a multimodal one, around the same modules; on text alone both give the same logits.

    Raises:
        InputError: It has no text decoder of its own, or none that gives its logits, or it is on several devices.
    """
    name, head = type(hf).__name__, hf.get_output_embeddings()
    if len(set(getattr(hf, "hf_device_map", {}).values())) > 1:
        raise InputError(f"the text decoder of {name} must be on one device: pass device_map as one, such as cuda")
    inside = [module for module in hf.modules() if isinstance(module, PreTrainedModel) and module is not hf]
    decoders = [module for module in inside if type(module.config) is type(text_config(hf.config))]
    if not decoders or head is None:
        raise InputError(f"{name} has no text decoder that can be taken out of it: pass that decoder's own model")
    whole = next((module for module in decoders if module.get_output_embeddings() is head), None)
    if whole is not None:
        return whole
    for text in _around(decoders[0], head):
        if any(parameter.is_meta for parameter in hf.parameters()) or _agree(hf.eval(), text.eval()):
            return text
    raise InputError(
        f"the text decoder in {name} gives other logits than {name} does on text alone, as where a prompt is read in "
        "both directions: expected a model that reads text from left to right"
    )


def _around(decoder: PreTrainedModel, head: nn.Module) -> Iterator[Any]:
    """Yield causal language models of a text decoder: transformers' own, if there is one, and a plain one.

    The first may scale or cap logits where the multimodal model does not.
    """
    own = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(decoder.config), None)
    family = [
        cls for cls in type(decoder).__mro__[1:] if issubclass(cls, PreTrainedModel) and cls is not PreTrainedModel
    ]
    # transformers looks into the source of a class's module for what it can do.
    entries = {"decoder": type(decoder), "__module__": type(decoder).__module__}
    plain = type("TextDecoder", (TextDecoder, *family[:1]), entries)
    for kind in (own, plain):
        if isinstance(kind, type):
            with torch.device("meta"):
                text: Any = kind(decoder.config)
            if type(text.base_model) is type(decoder):
                setattr(text, text.base_model_prefix, decoder)
                text.set_output_embeddings(head)
                yield text


def _agree(hf: Any, text: Any) -> bool:
    """Return True if a multimodal model and its text part give the same logits for a few tokens of text."""
    special = {value for key, value in hf.config.to_dict().items() if key.endswith(("token_id", "token_index"))}
    weight = text.get_input_embeddings().weight
    tokens = [token for token in range(3, min(60, len(weight))) if token not in special][:6]
    ids = torch.tensor([tokens], device=weight.device)
    with torch.no_grad():
        logits = hf(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        return same(text(input_ids=ids, use_cache=False).logits, logits.to(weight.device))
