"""Multimodal models open by their text decoder, whose logits on text are those of the whole model."""

from pathlib import Path

import pytest
import torch
from reference import multimodal
from reference.models import bpe_tokenizer
from reference.raw_hooks import eager_patterns
from transformers import PreTrainedModel

from headcount.importance import Example, head_importance
from headcount.induction import copying, prefix_matching
from headcount.results import InputError
from headcount.tracing import load_model, masked, randomised
from headcount.tracing.loading.describe import describe_model
from headcount.tracing.provenance_record import provenance

TOKENS = torch.randint(5, 160, (2, 21), generator=torch.Generator().manual_seed(0))
WITHOUT_TEXT_ALONE = ("blip-2", "llama4")
"""Types that do not run without images; their language model is a whole causal one."""
IN_FOLDERS = ("blip-2", "gemma4", "llava", "qwen2_vl", "qwen3_vl_moe")


def logits_of_the_whole(hf: PreTrainedModel) -> torch.Tensor:
    language_model = hf.language_model if hf.config.model_type in WITHOUT_TEXT_ALONE else hf
    return language_model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS), use_cache=False).logits


@pytest.mark.parametrize("model_type", multimodal.TYPES)
def test_a_text_decoder_has_the_logits_of_the_whole_model(model_type: str) -> None:
    hf = multimodal.tiny(model_type)
    before = dict(hf.named_parameters())
    model = load_model(hf)
    expected = logits_of_the_whole(hf)
    assert (model(TOKENS) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert model.name == f"{type(hf).__name__}, text only" == provenance(model)["model"]
    assert all(parameter is before[name] for name, parameter in hf.named_parameters())
    names = [
        name for name, parameter in hf.named_parameters() if any(parameter is part for part in model.hf.parameters())
    ]
    assert not any(word in name for name in names for word in ("vision", "visual", "audio", "image"))


@pytest.mark.parametrize("model_type", IN_FOLDERS)
def test_from_a_folder(tmp_path: Path, model_type: str) -> None:
    hf = multimodal.tiny(model_type)
    hf.save_pretrained(tmp_path / "both")
    bpe_tokenizer().save_pretrained(tmp_path / "both")
    model = load_model(tmp_path / "both")
    expected = logits_of_the_whole(hf)
    assert (model(TOKENS) - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert model.name == "both, text only"
    assert torch.equal(load_model(tmp_path / "both", device_map="cpu")(TOKENS), model(TOKENS))
    for refused in (describe_model, lambda folder: load_model(folder, stream=True)):
        with pytest.raises(
            InputError, match=f"architecture '{model_type}' is not supported: .*with its weights in memory"
        ):
            refused(tmp_path / "both")


@pytest.mark.parametrize("model_type", ["llava", "qwen2_vl"])
def test_a_text_decoder_is_measured_as_any_model(model_type: str) -> None:
    hf = multimodal.tiny(model_type)
    model = load_model(hf, tokenizer=bpe_tokenizer())
    tokens = torch.cat([torch.randint(5, 160, (1, 6))] * 4, 1)
    assert prefix_matching(model, tokens, 6).values.shape == copying(model, tokens[:, :6]).values.shape
    assert head_importance(model, [Example("the cat", " sat")]).values.gt(0).all()
    pattern = model.run_with_cache(TOKENS)[1]["pattern", 1]
    assert (pattern - eager_patterns(hf, TOKENS)[1]).abs().max() <= 1e-5
    whole = model(TOKENS)
    with masked(model, heads=[(1, 2)]):
        without = model(TOKENS)
    assert (without - whole).abs().max() > 1e-3
    other = randomised(model)
    assert type(other.hf).__name__ == type(model.hf).__name__
    assert not torch.allclose(other(TOKENS), whole)


def test_a_model_that_reads_prompts_in_both_directions_is_refused() -> None:
    with pytest.raises(InputError, match="is_causal=False"):
        load_model(multimodal.tiny("paligemma"))


def test_every_type_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    assert [name for name in multimodal.TYPES if f"`{name}`" not in page] == []


def test_several_devices_are_refused() -> None:
    hf = multimodal.tiny("llava")
    hf.hf_device_map = {"model": 0, "lm_head": 1}
    with pytest.raises(InputError, match="must be on one device: pass device_map as one"):
        load_model(hf)
