"""Types that are not described, where their weights are not in memory: the same parts and numbers as in memory."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference import models_page, zoo
from reference.models import bpe_tokenizer
from support.equals_local import EXAMPLES, close
from support.standing_server import Standing

from headcount import importance, induction
from headcount.results import InputError
from headcount.tracing import Model, load_model, masked
from headcount.tracing.architectures.anatomy import Anatomy, derived_anatomy, is_known
from headcount.tracing.architectures.stand_in import at_widths_of, stand_in
from headcount.tracing.loading import checked_model
from headcount.tracing.loading.describe import describe_model
from headcount.tracing.loading.stored_weights import empty_model

ENOUGH = 64 << 30
TOKENS = torch.randint(4, zoo.VOCAB, (2, 20), generator=torch.Generator().manual_seed(0))
ROWS = [line.split(" | ") for line in models_page.PAGE.read_text().splitlines() if line.startswith("| ")]
OPENING = [row[0].removeprefix("| ") for row in ROWS if row[1] == "yes" and "described" not in row[2]]
NO_DECODER = "gpt_neox_japanese"
"""Opens as a model object; its configuration says that it is no decoder."""
MEASURED = ("phi3", "qwen3_moe", "gpt_oss", "deepseek_v3", "qwen3_next", "gemma4_text", "bloom")


def streamed(model_type: str, folder: Path) -> tuple[Model, Model]:
    """Return a model in memory, and the same one streamed."""
    hf = zoo.tiny(model_type)
    hf.save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    local = load_model(hf, tokenizer=bpe_tokenizer())
    return local, load_model(folder, stream=True, memory=ENOUGH)


def same_parts(far: Model, local: Model) -> None:
    """Assert that parts and limits are the same."""
    same_anatomy(far.anatomy, local.anatomy)
    assert far.hooks.lost == local.hooks.lost
    for fact in ("shares_rows", "reads_embedding", "padding"):
        assert getattr(far, fact) == getattr(local, fact)


def same_anatomy(far: Anatomy, local: Anatomy) -> None:
    """Assert that parts are the same; factors that were measured are so up to rounding."""
    factors = [(each.variant.residual_factor, each.family.embed_scale) for each in (far, local)]
    assert factors[0] == pytest.approx(factors[1], rel=1e-5)
    for block, expected in zip(far.blocks, local.blocks, strict=True):
        for name, value in vars(expected).items():
            numbers = isinstance(value, float) or (
                isinstance(value, tuple) and any(isinstance(x, float) for x in value)
            )
            assert vars(block)[name] == (pytest.approx(value, rel=1e-4) if numbers else value)
    assert replace(far.variant, residual_factor=1.0) == replace(local.variant, residual_factor=1.0)
    assert far.sizes == local.sizes


@pytest.mark.parametrize("model_type", OPENING)
def test_streamed(model_type: str, tmp_path: Path) -> None:
    if model_type == NO_DECODER:
        with pytest.raises(InputError, match="architecture 'gpt_neox_japanese' is not supported"):
            streamed(model_type, tmp_path)
        return
    local, far = streamed(model_type, tmp_path)
    same_parts(far, local)
    expected_logits, expected = local.run_with_cache(TOKENS)
    logits, cache = far.run_with_cache(TOKENS)
    close(logits, expected_logits)
    close(far(TOKENS), local(TOKENS))
    assert set(cache) == set(expected)
    for name, value in expected.items():
        close(cache[name], value)
    mask = torch.ones_like(TOKENS)
    mask[1, -6:] = 0
    close(far(TOKENS, attention_mask=mask)[1, :14], local(TOKENS, attention_mask=mask)[1, :14])


@pytest.mark.parametrize("model_type", MEASURED)
def test_measures_streamed(model_type: str, tmp_path: Path) -> None:
    local, far = streamed(model_type, tmp_path)
    assert far.fingerprint() == local.fingerprint()
    equals_measures(local, far)


def equals_measures(local: Model, far: Model) -> None:
    tokens = induction.repeated_tokens(local, 6, 2)
    expected, actual = (induction.prefix_matching(model, tokens, 6).values for model in (local, far))
    close(actual.nan_to_num(), expected.nan_to_num())
    expected, actual = (induction.copying(model, tokens[:, :7]).values for model in (local, far))
    close(actual.nan_to_num(), expected.nan_to_num())
    expected, actual = (importance.head_importance(model, EXAMPLES).values for model in (local, far))
    close(actual.nan_to_num(), expected.nan_to_num())
    task = importance.load_task("plural")
    expected, actual = (importance.accuracy(model, task, 1, 4).gold_log_p for model in (local, far))
    close(actual, expected)
    parts = {"heads": [(local.layers_with_heads[0], 1)], "ffns": [1]}
    if local.anatomy.layers_with_experts():
        parts["experts"] = [(local.anatomy.layers_with_experts()[0], 0)]
    with masked(local, **parts), masked(far, **parts):
        close(far(TOKENS), local(TOKENS))


def test_on_a_server(tmp_path: Path) -> None:
    """A hybrid with experts and gates: paths differ from block to block."""
    hf = zoo.tiny("qwen3_next")
    hf.save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    server = Standing(tmp_path)
    try:
        local, far = load_model(hf, tokenizer=bpe_tokenizer()), load_model(tmp_path, remote=server.host)
        same_parts(far, local)
        (logits, cache), (expected_logits, expected) = (model.run_with_cache(TOKENS) for model in (far, local))
        close(logits, expected_logits)
        for name, value in expected.items():
            close(cache[name], value)
        tokens = torch.arange(5, 12)[None]
        values = [induction.copying(model, tokens).values.nan_to_num() for model in (far, local)]
        close(*values)
        values = [importance.head_importance(model, EXAMPLES).values.nan_to_num() for model in (far, local)]
        close(*values)
    finally:
        server.process.kill()


WIDE = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 192),
    **dict.fromkeys(("head_dim", "qk_nope_head_dim", "linear_key_head_dim", "swa_head_dim", "global_head_dim"), 48),
    **dict.fromkeys(("v_head_dim", "linear_value_head_dim"), 40),
    **dict.fromkeys(("intermediate_size", "moe_intermediate_size"), 112),
    **dict.fromkeys(("kv_lora_rank", "vocab_size"), 400),
}


@pytest.mark.parametrize(
    "model_type",
    ["olmo2", "phi3", "mixtral", "deepseek_v3", "mimo_v2_flash", "gemma4_text", "qwen3_next", "codegen", "vaultgemma"],
)
def test_widths_are_those_of_the_model(model_type: str) -> None:
    """The stand-in is narrower in each of them."""
    known = vars(zoo.config(model_type))
    latent = {"head_dim"} if "qk_rope_head_dim" in known else set()  # that of the rotated part, which stays
    settings = {name: width for name, width in WIDE.items() if known.get(name) and name not in latent}
    hf = zoo.tiny(model_type, **settings)
    narrow = stand_in(empty_model(model_type, hf.config))
    assert sum(weight.numel() for weight in narrow.parameters()) < sum(weight.numel() for weight in hf.parameters()) / 3
    found = at_widths_of(hf, narrow, derived_anatomy(narrow))
    same_anatomy(found, derived_anatomy(hf))


def test_described_without_weights(tmp_path: Path) -> None:
    zoo.config("qwen3_moe").save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    model = describe_model(tmp_path).model
    same_parts(model, load_model(zoo.tiny("qwen3_moe")))
    assert all(weight.is_meta for weight in model.hf.parameters())
    assert model.hf.config._experts_implementation == zoo.tiny("qwen3_moe").config._experts_implementation


def test_weights_that_stay_precise_are_the_same_in_half_precision(tmp_path: Path) -> None:
    """DeepSeek's router stays in float32, and GPT-J computes its rotations in it."""
    for model_type in ("deepseek_v3", "gptj"):
        zoo.tiny(model_type).to(torch.bfloat16).save_pretrained(tmp_path / model_type)
        bpe_tokenizer().save_pretrained(tmp_path / model_type)
        local = load_model(tmp_path / model_type)
        far = load_model(tmp_path / model_type, stream=True, memory=ENOUGH)
        assert far.fingerprint() == local.fingerprint()
        assert torch.equal(far(TOKENS), local(TOKENS))


def test_blocks_that_need_others_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Such as ones that read what an earlier one left."""
    zoo.tiny("granite").save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    narrowed = checked_model.stand_in

    def leaking(hf: object) -> object:
        narrow, left = narrowed(hf), []
        blocks = narrow.model.layers
        blocks[0].register_forward_hook(lambda module, args, output: left.append(output) or None)
        attention = blocks[2].self_attn
        attention.register_forward_hook(
            lambda module, args, output: (output[0] + (left.pop() if len(left) == 1 else 1.0), output[1])
        )
        return narrow

    monkeypatch.setattr(checked_model, "stand_in", leaking)
    with pytest.raises(InputError, match="architecture 'granite' is not supported"):
        load_model(tmp_path, stream=True, memory=ENOUGH)
    assert not is_known(zoo.config("granite"))
