"""Folders with a PEFT adapter: LoRA merged into the weights, exactly; other kinds are refused by name."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer
from safetensors.torch import save_file
from torch import Tensor

from headcount.results import InputError
from headcount.tracing import load_model
from headcount.tracing.loading.describe import describe_model
from headcount.tracing.provenance_record import provenance

TOKENS = torch.arange(3, 19).reshape(2, 8)
SETTINGS = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": False}
QUERY, DOWN = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"


def factors(out: int, into: int, seed: int = 0, rank: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(rank, into, generator=generator), 0.3 * torch.randn(out, rank, generator=generator)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    BUILDERS["llama"]().save_pretrained(tmp_path / "base")
    bpe_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def written(base: Path, tensors: dict[str, Tensor], **settings: object) -> Path:
    """Write an adapter as PEFT does, beside its model's folder."""
    folder = base.parent / "tuned"
    folder.mkdir(exist_ok=True)
    entries = SETTINGS | {"base_model_name_or_path": str(base)} | settings
    (folder / "adapter_config.json").write_text(json.dumps(entries))
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def lora(base: Path, **settings: object) -> Path:
    """Write an adapter of two matrices."""
    weights = BUILDERS["llama"]().state_dict()
    tensors = {}
    for seed, module in enumerate((QUERY, DOWN)):
        a, b = factors(*weights[f"{module}.weight"].shape, seed=seed)
        tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    return written(base, tensors, **settings)


@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=["in memory", "streamed"])
@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({}, (6 / 4, 6 / 4)),
        ({"use_rslora": True}, (6 / sqrt(4), 6 / sqrt(4))),
        ({"alpha_pattern": {"q_proj": 2}, "bias": "none"}, (2 / 4, 6 / 4)),
        ({"r": 9, "rank_pattern": {r"layers\.\d.mlp.down_proj": 4, "q_proj": 4}}, (6 / 4, 6 / 4)),
    ],
    ids=str,
)
def test_weights_are_those_added_up_by_hand(base: Path, options: dict, settings: dict, scales: tuple) -> None:
    expected, hf = BUILDERS["llama"](), BUILDERS["llama"]()
    for seed, (module, scale) in enumerate(zip((QUERY, DOWN), scales, strict=True)):
        weight = expected.get_submodule(module).weight
        a, b = factors(*weight.shape, seed=seed)
        weight.data += (scale * (b.double() @ a.double())).float()
    model = load_model(lora(base, **settings), **options)
    logits = model(TOKENS)
    assert (logits - expected(TOKENS, use_cache=False).logits).abs().max() <= 1e-5
    assert (logits - hf(TOKENS, use_cache=False).logits).abs().max() > 0.01
    if not options:
        for module in (QUERY, DOWN):
            assert (model.hf.get_submodule(module).weight - expected.get_submodule(module).weight).abs().max() <= 1e-6


def test_the_title_names_model_and_adapter(base: Path) -> None:
    folder = lora(base)
    model = load_model(folder)
    assert model.name == provenance(model)["model"] == "base with adapter tuned"
    assert model.fingerprint() == load_model(folder, stream=True).fingerprint() != load_model(base).fingerprint()
    assert model.to_tokens("the cat").shape == load_model(base).to_tokens("the cat").shape
    assert describe_model(folder).model.name == "base with adapter tuned"


def test_half_precision_is_rounded_once(base: Path) -> None:
    model, plain = load_model(lora(base), dtype="bfloat16"), load_model(base, dtype="bfloat16")
    before = plain.hf.get_submodule(QUERY).weight.float()
    a, b = factors(*before.shape)
    assert torch.equal(model.hf.get_submodule(QUERY).weight, (before + 1.5 * (b @ a)).bfloat16())


def test_embeddings_biases_and_whole_modules(tmp_path: Path) -> None:
    hf = BUILDERS["qwen2"]()
    hf.save_pretrained(tmp_path / "base")
    bpe_tokenizer().save_pretrained(tmp_path / "base")
    a, b = factors(hf.config.hidden_size, hf.config.vocab_size)
    head = torch.randn(hf.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
    bias = torch.arange(hf.model.layers[0].self_attn.q_proj.bias.numel()).float()
    tensors = {"model.embed_tokens.lora_embedding_A": a, "model.embed_tokens.lora_embedding_B": b}
    tensors |= {"lm_head.weight": head, "model.layers.0.self_attn.q_proj.base_layer.bias": bias}
    model = load_model(written(tmp_path / "base", tensors, bias="all", modules_to_save=["lm_head"]))
    hf.model.embed_tokens.weight.data += 1.5 * (b @ a).T
    hf.lm_head.weight.data, hf.model.layers[0].self_attn.q_proj.bias.data = head, bias
    assert (model(TOKENS) - hf(TOKENS, use_cache=False).logits).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {"rank_pattern": {"0.*": 2}, "alpha_pattern": {"1.*": 3}}),
        ("gpt2", {"use_rslora": True}),
        ("gpt_neox", {}),
    ],
    ids=str,
)
def test_what_peft_saves_and_computes(tmp_path: Path, name: str, options: dict) -> None:
    peft = pytest.importorskip("peft")
    BUILDERS[name]().save_pretrained(tmp_path / "base")
    bpe_tokenizer().save_pretrained(tmp_path / "base")
    hf = BUILDERS[name]()
    hf.config._name_or_path = hf.name_or_path = str(tmp_path / "base")
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", init_lora_weights=False, **options)
    tuned = peft.get_peft_model(hf, config).eval()
    tuned.save_pretrained(tmp_path / "tuned")
    with torch.no_grad():
        expected = tuned(input_ids=TOKENS, use_cache=False).logits
    for way in ({}, {"stream": True}):
        difference = (load_model(tmp_path / "tuned", **way)(TOKENS) - expected).abs().max()
        assert difference <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "is 'IA3': expected LORA, the kind that is merged here; merge it with PEFT"),
        ({"peft_type": "PREFIX_TUNING"}, "is 'PREFIX_TUNING'"),
        ({"use_dora": True}, "no plain LoRA: adapter_config.json sets use_dora; merge it with PEFT"),
        ({"init_lora_weights": "pissa_niter_16"}, "sets init_lora_weights = 'pissa_niter_16'"),
        ({"target_parameters": ["experts.down_proj"]}, "sets target_parameters"),
        ({"alora_invocation_tokens": [5]}, "sets alora_invocation_tokens"),
        ({"some_new_setting": 3}, "sets some_new_setting"),
        ({"r": 8}, "is damaged .*gives model.layers.*r = 8 and alpha = 6, its tensors are"),
        ({"lora_alpha": None}, "alpha = None"),
        ({"base_model_name_or_path": None}, "names no model"),
        ({"base_model_name_or_path": "/no/such/base"}, "is for '/no/such/base', which is not here"),
    ],
    ids=str,
)
def test_other_adapters_are_refused(base: Path, settings: dict, message: str) -> None:
    folder = lora(base, **settings)
    for options in ({}, {"stream": True}):
        with pytest.raises(InputError, match=message):
            load_model(folder, **options)


def test_adapters_that_do_not_fit_are_refused(base: Path) -> None:
    a, b = factors(32, 32)
    for tensors, message in (
        ({f"{QUERY}.lora_A.weight": a}, "has not one matrix lora_A and one lora_B"),
        ({"model.layers.9.q.lora_A.weight": a, "model.layers.9.q.lora_B.weight": b}, "which the model lacks"),
        ({f"{QUERY}.lora_A.weight": a[:, :5].clone(), f"{QUERY}.lora_B.weight": b}, r"has \[32, 5\] for .*which is \["),
        ({f"{QUERY}.lora_A.weight": a.int(), f"{QUERY}.lora_B.weight": b}, "is stored as torch.int32"),
        ({}, "it holds no tensors"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(written(base, tensors))
    (lora(base) / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors"):
        load_model(base.parent / "tuned")


def test_shared_embeddings_are_refused(tmp_path: Path) -> None:
    hf = BUILDERS["gpt2"]()
    hf.save_pretrained(tmp_path / "base")
    a, b = factors(hf.config.hidden_size, hf.config.vocab_size)
    for tensors in (
        {"lm_head.weight": torch.zeros(hf.lm_head.weight.shape)},
        {"transformer.wte.lora_embedding_A": a, "transformer.wte.lora_embedding_B": b},
    ):
        with pytest.raises(InputError, match="which embedding and unembedding share: merged, it would change both"):
            load_model(written(tmp_path / "base", tensors))


def test_quantised_weights_servers_and_adapters_of_adapters_are_refused(base: Path) -> None:
    folder = lora(base)
    with pytest.raises(InputError, match="the server has no weights with the adapter"):
        load_model(folder, remote="http://localhost:1")
    twice = base.parent / "twice"
    twice.mkdir()
    (twice / "adapter_config.json").write_text(json.dumps(SETTINGS | {"base_model_name_or_path": str(folder)}))
    with pytest.raises(InputError, match="which is an adapter too"):
        load_model(twice)
    entries = json.loads((base / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    (base / "config.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"are quantised: the adapter in .* cannot be merged into them"):
        load_model(folder)


def test_an_adapter_on_the_hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = lora(base)
    cached = tmp_path / "hub" / "models--someone--tuned"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = load_model("someone/tuned")
    assert model.name == "base with adapter someone/tuned at 0123456789ab"
    assert torch.equal(model(TOKENS), load_model(lora(base))(TOKENS))
    assert torch.equal(load_model("someone/tuned", revision=commit)(TOKENS), model(TOKENS))
    with pytest.raises(InputError, match="no model 'someone/other'"):
        load_model("someone/other")
