"""Folders whose configuration and weights do not go together: refused in one line, in memory and streamed alike."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.models import BUILDERS, GROUPED, bpe_tokenizer, build
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig

from headcount.results import InputError
from headcount.tracing import describe_model, load_model

QUERY = "model.layers.0.self_attn.q_proj.weight"
TOKENS = torch.arange(3, 20)[None]
WAYS: list[dict[str, Any]] = [{}, {"stream": True}]

both_ways = pytest.mark.parametrize("options", WAYS, ids=["memory", "stream"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved("llama", tmp_path / "model")


def saved(name: str, path: Path) -> Path:
    BUILDERS[name]().save_pretrained(path)
    bpe_tokenizer().save_pretrained(path)
    return path


def configure(folder: Path, **entries: object) -> None:
    before = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(before | entries))


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """Writes the weights anew."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def refused(folder: Path, message: str, opener: Callable[..., Any] = load_model, **options: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        opener(folder, **options)
    assert "\n" not in str(caught.value)


@both_ways
class TestTensorsAndParameters:
    def test_biases_without_a_place(self, tmp_path: Path, options: dict) -> None:
        folder = saved("qwen2", tmp_path / "model")
        configure(folder, model_type="llama", architectures=["LlamaForCausalLM"])
        refused(folder, r"no place for 9 tensors of .*, first model\.layers\.0\.self_attn\.k_proj\.bias", **options)

    def test_layers_without_a_place(self, folder: Path, options: dict) -> None:
        configure(folder, num_hidden_layers=2)
        refused(folder, r"no place for 9 tensors of .*, first model\.layers\.2\.", **options)

    def test_a_head_without_a_place(self, folder: Path, options: dict) -> None:
        change(folder, lambda weights: weights.update({"score.weight": torch.ones(2, 32)}))
        refused(folder, r"no place for 1 tensors of .*, first score\.weight", **options)

    @pytest.mark.parametrize(
        ("name", "besides"),
        [
            ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
            ("gpt_neox", ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.masked_bias"]),
            ("gpt2", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ],
    )
    def test_what_older_checkpoints_carry_along(
        self, tmp_path: Path, options: dict, name: str, besides: list[str]
    ) -> None:
        folder = saved(name, tmp_path / "model")
        change(folder, lambda weights: weights.update({key: torch.ones(1, dtype=torch.bool) for key in besides}))
        assert torch.allclose(load_model(folder, **options)(TOKENS), BUILDERS[name]()(TOKENS).logits, atol=1e-5)

    @pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "opt", "llama"])
    def test_names_of_the_body(self, tmp_path: Path, options: dict, name: str) -> None:
        folder = saved(name, tmp_path / "model")
        prefix = BUILDERS[name]().base_model_prefix + "."

        def strip(weights: dict[str, Tensor]) -> None:
            for key in list(weights):
                weights[key.removeprefix(prefix)] = weights.pop(key)

        change(folder, strip)
        assert torch.allclose(load_model(folder, **options)(TOKENS), BUILDERS[name]()(TOKENS).logits, atol=1e-5)

    @pytest.mark.parametrize(
        "dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64], ids=str
    )
    @pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
    def test_formats_that_are_not_those_of_weights(
        self, folder: Path, options: dict, dtype: torch.dtype, file: str
    ) -> None:
        change(folder, lambda weights: weights.update({QUERY: (10 * weights[QUERY]).to(dtype)}))
        if file != "model.safetensors":
            torch.save(load_file(folder / "model.safetensors"), folder / file)
            (folder / "model.safetensors").unlink()
        named = str(dtype).removeprefix("torch.")
        refused(folder, rf"{re.escape(QUERY)} of .* is stored as {named}: expected float32", **options)

    def test_two_tensors_of_one_name(self, folder: Path, options: dict) -> None:
        change(folder, lambda weights: weights.update({QUERY.removeprefix("model."): 3 * weights[QUERY]}))
        refused(folder, rf"holds {re.escape(QUERY)} twice", **options)

    def test_a_file_that_the_configuration_names(self, folder: Path, options: dict) -> None:
        BUILDERS["llama"](5).save_pretrained(folder / "other")
        (folder / "other" / "model.safetensors").rename(folder / "other.safetensors")
        configure(folder, transformers_weights="other.safetensors")
        refused(folder, r"transformers_weights = 'other\.safetensors': take that out", **options)

    def test_tied_weights_by_the_other_name(self, tmp_path: Path, options: dict) -> None:
        folder = saved("gpt2", tmp_path / "model")
        change(folder, lambda weights: weights.update({"lm_head.weight": weights.pop("transformer.wte.weight")}))
        assert torch.allclose(load_model(folder, **options)(TOKENS), BUILDERS["gpt2"]()(TOKENS).logits, atol=1e-5)

    def test_tied_weights_by_both_names(self, tmp_path: Path, options: dict) -> None:
        folder = saved("gpt2", tmp_path / "model")
        change(folder, lambda weights: weights.update({"lm_head.weight": weights["transformer.wte.weight"].clone()}))
        assert torch.allclose(load_model(folder, **options)(TOKENS), BUILDERS["gpt2"]()(TOKENS).logits, atol=1e-5)


def test_weights_said_to_be_tied_that_differ(folder: Path) -> None:
    configure(folder, tie_word_embeddings=True)
    assert torch.allclose(load_model(folder)(TOKENS), BUILDERS["llama"]()(TOKENS).logits, atol=1e-5)
    refused(folder, r"lm_head\.weight of .* differs from model\.embed_tokens\.weight", stream=True)


def test_torch_files_of_before_1_6_are_read_in_memory(folder: Path) -> None:
    hf = BUILDERS["llama"]()
    (folder / "model.safetensors").unlink()
    torch.save(hf.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(load_model(folder)(TOKENS), hf(TOKENS).logits)


@pytest.mark.parametrize("entries", [{"quant_method": "gptq", "bits": 4}, {"quant_method": "fp8"}, {}], ids=str)
def test_quantised_weights_are_not_streamed(folder: Path, entries: object) -> None:
    configure(folder, quantization_config=entries)
    refused(folder, "quantised, which cannot be streamed", stream=True)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "longrope"},
        {"full_attention": {"rope_type": "longrope"}, "sliding_attention": {"rope_type": "default"}},
    ],
    ids=["every layer", "one kind of layer"],
)
def test_angles_that_depend_on_the_batch(tmp_path: Path, rope: dict) -> None:
    factors = {"rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "factor": 8.0}
    factors["original_max_position_embeddings"] = 32
    name = "llama" if "rope_type" in rope else "gemma3"
    folder = saved(name, tmp_path / "model")
    nested = {kind: {"rope_theta": 1e4} | one for kind, one in rope.items() if isinstance(one, dict)}
    if nested:
        nested["full_attention"] |= factors | {"short_factor": [1.0] * 6, "long_factor": [4.0] * 6}
    configure(folder, rope_parameters=nested or rope | factors)
    for options in WAYS:
        refused(folder, "rope_type 'longrope' is not supported", **options)
    refused(folder, "rope_type 'longrope' is not supported", describe_model)
    if not nested:
        with pytest.raises(InputError, match="rope_type 'longrope' is not supported"):
            load_model(build(LlamaConfig(**GROUPED, rope_parameters=rope | factors), 0))


@pytest.mark.parametrize(
    "entries",
    [
        {"hidden_act": "nope"},
        {"dtype": "int8"},
        {"dtype": 5},
        {"pad_token_id": 10**9},
        {"num_key_value_heads": 0},
        {"rope_parameters": {"rope_type": "nope"}},
        {"text_config": {"a": 1}},
        {"attn_implementation": "nope"},
        {"attn_implementation": ["evil/kernel"]},
        {"attn_implementation": 5},
    ],
    ids=str,
)
def test_configurations_of_which_no_model_can_be_made(folder: Path, entries: dict) -> None:
    configure(folder, **entries)
    for options in WAYS:
        refused(folder, "configuration", **options)
    refused(folder, "configuration", describe_model)


@both_ways
def test_outputs_that_are_asked_for_as_tuples(folder: Path, options: dict) -> None:
    configure(folder, return_dict=False)
    assert torch.allclose(load_model(folder, **options)(TOKENS), BUILDERS["llama"]()(TOKENS).logits, atol=1e-5)


@both_ways
def test_labels_are_bounded(folder: Path, options: dict) -> None:
    configure(folder, num_labels=10**6)
    refused(folder, r"num_labels = 1000000: expected 1 to 10,000", **options)


@both_ways
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("llama", {"vocab_size": 10_000_000}),
        ("llama", {"head_dim": 2 * 10**9}),
        ("gpt2", {"n_positions": 10**9}),
        ("opt", {"max_position_embeddings": 10**9}),
        ("gpt_neox", {"hidden_size": 2**20}),
    ],
    ids=str,
)
def test_shapes_are_compared_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, name: str, entries: dict
) -> None:
    folder = saved(name, tmp_path / "model")
    configure(folder, **entries)

    def too_early(*_: object, **__: object) -> None:
        pytest.fail("a model was built in memory")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", too_early)
    monkeypatch.setattr("accelerate.init_empty_weights", too_early)
    refused(folder, r"should be \[.*\], but is \[", **options)


@both_ways
@pytest.mark.parametrize(
    "places",
    [[[0, 16], [0, 16]], [[0, 16], [8, 24]], [[0, 16], [20, 36]], [[0.0, 16.0], [16, 32]], [[4, 20], [20, 36]]],
    ids=str,
)
def test_places_in_a_file_that_no_library_writes(folder: Path, options: dict, places: list) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    size = len(raw) - 8 - length
    for place, name in zip(places, ("extra.a", "extra.b"), strict=True):
        header[name] = {"dtype": "F32", "shape": [4], "data_offsets": [size + offset for offset in place]}
    new_header = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new_header)) + new_header + raw[8 + length :] + bytes(places[-1][-1]))
    refused(folder, r"cannot be read as weights \(its tensors do not lie one after the other\)", **options)


def test_text_that_is_no_unicode() -> None:
    model = load_model(BUILDERS["llama"](), tokenizer=bpe_tokenizer())
    for use in (model.to_tokens, model.to_str_tokens, model):
        with pytest.raises(InputError, match=r"expected a text of valid Unicode, got .* in 'so \\ud800'$"):
            use("so \ud800")


class TestQuantisedWeights:
    """Weights whose scales would be lost: each is refused, in memory and streamed."""

    @staticmethod
    def quantise(folder: Path, dtype: torch.dtype) -> None:
        def edit(weights: dict[str, Tensor]) -> None:
            scale = weights[QUERY].abs().max() / 100
            weights[QUERY] = (weights[QUERY] / scale).to(dtype)
            weights[QUERY.replace("weight", "weight_scale")] = scale[None].clone()

        change(folder, edit)

    @pytest.mark.parametrize("method", ["modelopt", "nothing-known", None])
    @pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
    def test_a_method_that_is_not_applied(self, folder: Path, method: str | None, dtype: torch.dtype) -> None:
        self.quantise(folder, dtype)
        configure(folder, quantization_config={"quant_method": method, "quant_algo": "FP8"})
        refused(folder, f"quantised by '{method}', which the installed transformers does not apply")
        refused(folder, "are quantised, which cannot be streamed", stream=True)

    @both_ways
    @pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
    def test_scales_beside_weights_without_a_method(self, folder: Path, options: dict, dtype: torch.dtype) -> None:
        self.quantise(folder, dtype)
        refused(folder, "no place for 1 tensors of .*weight_scale", **options)

    def test_a_known_method_that_leaves_tensors_without_a_place(self, folder: Path) -> None:
        change(folder, lambda weights: weights.update({QUERY.replace("weight", "weight_scale_2"): torch.ones(1)}))
        configure(
            folder, quantization_config={"quant_method": "fp8", "dequantize": True, "modules_to_not_convert": ["model"]}
        )
        refused(folder, "weight_scale_2|cannot read the weights")


@both_ways
def test_an_adapter_beside_the_weights(folder: Path, options: dict) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(folder, "has an adapter, adapter_config.json, beside whole weights: to open", **options)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    BUILDERS["llama"]().save_pretrained(tmp_path / "model")
    refused(tmp_path / "model", r"holds no tokenizer: put its files there, or pass load_model\(..., tokenizer=\)")
    bpe_tokenizer().save_pretrained(tmp_path / "words")
    model = load_model(tmp_path / "model", tokenizer=str(tmp_path / "words"))
    assert model.to_tokens("ba").shape == (1, 2)


def test_a_name_that_no_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused("nosuch-model-anywhere", "no model 'nosuch-model-anywhere': there is no such folder here, and the Hub")  # type: ignore[arg-type]
    refused("smollm-135m", "did you mean smollm2-135m?")  # type: ignore[arg-type]
