"""Models in GGUF files: read once into the cache, with the numbers of the folder that they are from."""

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from reference.models import GROUPED, bpe_merges, bpe_tokenizer, build
from transformers import PreTrainedModel, Qwen2Config

from headcount.results import InputError
from headcount.tracing import load_model
from headcount.tracing.sources import gguf

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
IN_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOKENS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def hf() -> PreTrainedModel:
    return build(Qwen2Config(**GROUPED), 0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "cache_folder", lambda: tmp_path / "cache")


def written(hf: PreTrainedModel, file: Path, architecture: str = "qwen2") -> Path:
    """Write a GGUF file with a model's weights, not quantised."""
    config, tokenizer = hf.config, bpe_tokenizer()
    writer = GGUFWriter(file, architecture)
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([" ".join(merge) for merge in bpe_merges()])
    writer.add_eos_token_id(2)
    for name, weight in hf.state_dict().items():
        stored = NAMES.get(name)
        if stored is None:
            _, _, layer, rest = name.split(".", 3)
            module, _, kind = rest.rpartition(".")
            stored = f"blk.{layer}.{IN_BLOCK[module]}.{kind}"
        writer.add_tensor(stored, weight.float().numpy(), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_file_has_the_numbers_of_its_model(hf: PreTrainedModel, tmp_path: Path) -> None:
    file = written(hf, tmp_path / "small.gguf")
    model = load_model(file)
    assert (model(TOKENS) - hf(TOKENS, use_cache=False).logits).abs().max() <= 1e-5
    assert model.name == "small, ALL_F32 dequantised"
    assert model.to_tokens("the cat").shape[1] > 1


def test_it_is_read_once_and_again_when_it_changed(
    hf: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(hf, tmp_path / "small.gguf")
    first = load_model(file).fingerprint()
    with monkeypatch.context() as patched:
        patched.setattr(gguf, "convert", None)  # to convert again would fail
        assert load_model(tmp_path).fingerprint() == first  # a folder with one file is that file
    hf.lm_head.weight.data[0] += 1
    assert load_model(written(hf, file)).fingerprint() != first


def test_what_cannot_be_read_is_refused_in_one_line(hf: PreTrainedModel, tmp_path: Path) -> None:
    written(hf, tmp_path / "small.gguf")
    with pytest.raises(InputError, match=r"no model at .*smal.gguf: .*Did you mean .*small.gguf\?"):
        load_model(tmp_path / "smal.gguf")
    with pytest.raises(InputError, match=r"transformers cannot read .*other.gguf \(.*plamo"):
        load_model(written(hf, tmp_path / "other.gguf", "plamo"))
    with pytest.raises(InputError, match=r"holds 2 GGUF files: pass the path of one \(other.gguf, small.gguf\)"):
        load_model(tmp_path)
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"transformers cannot read .*cut.gguf"):
        load_model(tmp_path / "cut.gguf")
    part = tmp_path / "large-00001-of-00002.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="is one part of a model: join the parts first"):
        load_model(part)
