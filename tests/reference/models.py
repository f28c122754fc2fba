"""Tiny random models of every supported architecture, with tokenizers that fit them, built without a network.

All weights, biases and norm gains are random, well away from 0 and 1, so that a part that is forgotten or used twice
changes the numbers.
"""

from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

VOCAB = 168
CONTEXT = 256
BOS = 2  # as in OPT, where it ends a text too
UNKNOWN, PADDING, END = SPECIAL = ["<unk>", "<pad>", "</s>"]

SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": CONTEXT,
    "vocab_size": VOCAB,
    "bos_token_id": BOS,
    "eos_token_id": BOS,
    "pad_token_id": 1,
}
GROUPED = SIZES | {"num_key_value_heads": 2, "intermediate_size": 48}


def opt(seed: int = 0) -> PreTrainedModel:
    return build(OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32), seed)


def opt_350m_style(seed: int = 0) -> PreTrainedModel:
    """Norms after the sums, and embeddings narrower than the residual stream."""
    return build(OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=24, do_layer_norm_before=False), seed)


def gpt2(seed: int = 0) -> PreTrainedModel:
    return build(GPT2Config(**SIZES, n_inner=48), seed)


def gpt_neox(seed: int = 0) -> PreTrainedModel:
    """Attention and feed-forward network in parallel, half of each head rotated."""
    rotary = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
    return build(GPTNeoXConfig(**SIZES, intermediate_size=48, rope_parameters=rotary), seed)


def llama(seed: int = 0) -> PreTrainedModel:
    return build(LlamaConfig(**GROUPED), seed)


def llama_wide_heads(seed: int = 0) -> PreTrainedModel:
    """Heads wider than d_model / n_heads, one key and value for all, attention biases, tied embeddings."""
    sizes = GROUPED | {"num_key_value_heads": 1, "head_dim": 12}
    return build(LlamaConfig(**sizes, attention_bias=True, tie_word_embeddings=True), seed)


def mistral(seed: int = 0) -> PreTrainedModel:
    """A sliding window in every layer."""
    return build(MistralConfig(**GROUPED, sliding_window=40), seed)


def qwen2(seed: int = 0) -> PreTrainedModel:
    """Biases on queries, keys and values."""
    return build(Qwen2Config(**GROUPED), seed)


def gemma3(seed: int = 0) -> PreTrainedModel:
    """Embedding scale, query and key norms, sandwich norms, a sliding window in two layers of three, a logit cap."""
    config = Gemma3TextConfig(
        **GROUPED,
        head_dim=12,
        sliding_window=30,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=9,
        final_logit_softcapping=20.0,
    )
    return build(config, seed)


BUILDERS: dict[str, Callable[..., PreTrainedModel]] = {
    builder.__name__: builder
    for builder in (opt, opt_350m_style, gpt2, gpt_neox, llama, llama_wide_heads, mistral, qwen2, gemma3)
}


def build(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Build a float32 model in evaluation mode; the global random state does not change."""
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        randomise(parameter.data, generator)
    return model.eval()


def randomise(weights: torch.Tensor, generator: torch.Generator) -> None:
    """Replace matrices by random ones, and add noise to biases and norm gains."""
    noise = 0.3 * torch.randn(weights.shape, generator=generator)
    weights.copy_(weights + noise if weights.ndim == 1 else noise)


def bpe_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of small letters and spaces, 161 tokens; OPT's BOS before every text, or no BOS at all."""
    merges = bpe_merges()
    symbols = [*SPECIAL, "Ġ", *"abcdefghijklmnopqrstuvwxyz", *(left + right for left, right in merges)]
    vocab = {symbol: token for token, symbol in enumerate(symbols)}
    backend = Tokenizer(BPE(vocab=vocab, merges=merges, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return wrapped(backend, bos)


def bpe_merges() -> list[tuple[str, str]]:
    """Return 131 merges: a space before each letter, then every consonant before every vowel."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    vowels = "aeiou"
    syllables = [(consonant, vowel) for consonant in alphabet if consonant not in vowels for vowel in vowels]
    return [("Ġ", letter) for letter in alphabet] + syllables


def word_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer that knows 130 words and no merges: w0 .. w129."""
    symbols = [*SPECIAL, *(f"w{number}" for number in range(130))]
    vocab = {symbol: token for token, symbol in enumerate(symbols)}
    backend = Tokenizer(WordLevel(vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrapped(backend, bos)


def wrapped(backend: Tokenizer, bos: bool) -> PreTrainedTokenizerFast:
    names = {"eos_token": END, "pad_token": PADDING, "unk_token": UNKNOWN}
    if bos:
        names["bos_token"] = END
        backend.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)
