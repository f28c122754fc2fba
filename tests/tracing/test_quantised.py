"""Quantised weights: scores equal those of the dequantised model; what needs plain weights is refused."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from reference import models
from reference.importance import head_sums
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from headcount.importance import Example, head_importance
from headcount.importance.evaluation import encode_examples
from headcount.induction import copying, prefix_matching
from headcount.results import InputError
from headcount.tracing import Model, load_model, masked, pruned

TOKENIZER = models.bpe_tokenizer()
PERIOD = 6
TOKENS = torch.randint(4, 90, (2, PERIOD), generator=torch.Generator().manual_seed(0)).repeat(1, 4)
EXAMPLES = [Example("the cat sat on the", " mat and")]
HEADS = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
CONFIG = LlamaConfig(vocab_size=512, hidden_size=128, intermediate_size=256, max_position_embeddings=128, **HEADS)
FORMATS = {
    # It rounds activations, too, and multiplies in half precision.
    "bitsandbytes, 8 bit": ({"load_in_8bit": True}, 0.15),
    "bitsandbytes, 4 bit": ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, 1e-4),
}


class Quantised(NamedTuple):
    """A quantised model, the same numbers as plain weights, and the error that may lie between them."""

    method: str
    model: Model
    plain: Model
    folder: Path
    error: float

    def near(self, actual: torch.Tensor, expected: torch.Tensor) -> None:
        assert (actual - expected).norm() <= self.error * expected.norm()


@pytest.fixture(scope="module", params=FORMATS)
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    """A model read from a folder with quantised weights."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("quantised")
    models.build(CONFIG, 0).save_pretrained(folder / "whole")
    settings, error = FORMATS[request.param]
    config = BitsAndBytesConfig(**settings)
    AutoModelForCausalLM.from_pretrained(folder / "whole", quantization_config=config).save_pretrained(folder / "q")
    TOKENIZER.save_pretrained(folder / "q")
    hf: Any = AutoModelForCausalLM.from_pretrained(folder / "q")
    plain = load_model(hf.dequantize().float(), tokenizer=TOKENIZER)
    return Quantised(request.param, load_model(folder / "q"), plain, folder / "q", error)


def test_scores_are_those_of_the_dequantised_model(quantised: Quantised) -> None:
    scores, expected = (
        [
            prefix_matching(model, TOKENS, period=PERIOD),
            copying(model, TOKENS, definition="head-output"),
            head_importance(model, EXAMPLES, reduction="token"),
        ]
        for model in (quantised.model, quantised.plain)
    )
    for actual, score in zip(scores, expected, strict=True):
        quantised.near(actual.values, score.values)
        assert actual.provenance["quantised"] == quantised.method
        assert "quantised" not in score.provenance


def test_head_importance_is_that_of_full_autograd_of_the_quantised_model(quantised: Quantised) -> None:
    (request,) = encode_examples(quantised.model, EXAMPLES, "joint")
    _, signed = head_sums(AutoModelForCausalLM.from_pretrained(quantised.folder), list(request.ids), request.start)
    scores = head_importance(quantised.model, EXAMPLES, reduction="example")
    torch.testing.assert_close(scores.values, signed.abs().float(), rtol=1e-3, atol=1e-4 * float(signed.abs().max()))


def test_hooks_and_ablation_are_those_of_the_dequantised_model(quantised: Quantised) -> None:
    model, plain = quantised.model, quantised.plain
    (logits, cache), (expected_logits, expected) = (each.run_with_cache(TOKENS) for each in (model, plain))
    quantised.near(logits, expected_logits)
    for name in ("attn.hook_z", "attn.hook_result", "hook_attn_out", "mlp.hook_post", "hook_mlp_out"):
        quantised.near(cache[f"blocks.1.{name}"], expected[f"blocks.1.{name}"])
    with masked(model, heads=[(0, 1)]), masked(plain, heads=[(0, 1)]):
        quantised.near(model(TOKENS), plain(TOKENS))


def test_what_needs_plain_weights_is_refused(quantised: Quantised) -> None:
    with pytest.raises(InputError, match=rf"are quantised \({quantised.method}\).*use masked"):
        pruned(quantised.model, heads=[(0, 1)])
    with pytest.raises(InputError, match="are quantised, and no matrix W_V is stored"):
        copying(quantised.model, TOKENS, definition="eigenvalue")


def test_the_fingerprint_does_not_change_the_weights(quantised: Quantised) -> None:
    before = quantised.model(TOKENS)
    again = load_model(quantised.folder)
    assert quantised.model.fingerprint() == again.fingerprint() != quantised.plain.fingerprint()
    assert torch.equal(quantised.model(TOKENS), before)
    assert torch.equal(before, again.hf(TOKENS, use_cache=False).logits)


def test_weights_that_bitsandbytes_has_packed_are_refused(quantised: Quantised) -> None:
    hf = AutoModelForCausalLM.from_pretrained(quantised.folder)
    weights = [weight for weight in hf.parameters() if hasattr(weight, "quant_state")]
    assert bool(weights) == (quantised.method == "bitsandbytes, 4 bit")
    for weight in weights[:1]:
        weight.quant_state.packing_format_for_cpu = True
        with pytest.raises(InputError, match=r"has packed .* for the CPU"):
            load_model(hf, tokenizer=TOKENIZER)


def test_fp8_weights_are_dequantised_where_there_is_no_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("transformers runs them as they are on a GPU")
    hf = models.build(CONFIG, 0)
    hf.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    tensors, expected = {}, dict(hf.state_dict())
    for name, weight in hf.state_dict().items():
        if not name.endswith("proj.weight"):
            tensors[name] = weight.clone()
            continue
        blocks = weight.unflatten(1, (-1, 64)).unflatten(0, (-1, 64))  # [row block, row, column block, column]
        scales = blocks.abs().amax((1, 3)) / 448
        stored = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
        tensors[name], tensors[f"{name}_scale_inv"] = stored.flatten(2).flatten(0, 1), scales
        expected[name] = (stored.float() * scales[:, None, :, None]).flatten(2).flatten(0, 1)
    save_file(tensors, tmp_path / "model.safetensors")
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["quantization_config"] = {
        "quant_method": "fp8",
        "weight_block_size": [64, 64],
        "activation_scheme": "dynamic",
        "modules_to_not_convert": ["lm_head"],
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = load_model(tmp_path, dtype="float32")
    hf.load_state_dict(expected)
    logits = hf(TOKENS, use_cache=False).logits
    assert (model(TOKENS) - logits).norm() <= 0.02 * logits.norm()  # dequantised in bfloat16
    scores = prefix_matching(model, TOKENS, period=PERIOD)
    assert "quantised" not in scores.provenance
    with masked(model, heads=[(0, 1), (0, 0)]):
        without = model(TOKENS)
    assert torch.allclose(pruned(model, heads=[(0, 1), (0, 0)])(TOKENS), without, atol=1e-4)
