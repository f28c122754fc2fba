"""Models of types that are not described open as the family whose modules and numbers they have, or are refused."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch
from reference import copying as reference_copying
from reference import prefix as reference_prefix
from reference import raw_hooks
from reference.importance import head_sums, log_likelihood
from reference.models import BOS, GROUPED, VOCAB, bpe_tokenizer, build
from transformers import AutoConfig, PreTrainedModel

from headcount import induction
from headcount.cli import main
from headcount.importance import Example, head_importance
from headcount.importance.likelihoods.encoding import EncodedRequest, encode
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import InputError
from headcount.tracing import load_model, masked, pruned
from headcount.tracing.loading.describe import describe_model

TOKENS = torch.randint(3, VOCAB, (2, 30), generator=torch.Generator().manual_seed(3))
TOKENIZER = bpe_tokenizer()
EXAMPLE = Example("the cat sat on the", " mat and")
UNGATED = ("arcee", "jais2")
OPENED = {
    "arcee": {},
    "cwm": {"sliding_window": 8},
    "ernie4_5": {},
    "exaone": {},
    "granite": {},
    "helium": {},
    "hunyuan_v1_dense": {},
    "internlm3": {},
    "iquestcoder": {},
    "jais2": {},
    "ministral": {"sliding_window": 8},
    "ministral3": {},
    "seed_oss": {},
    "smollm3": {},
}
OTHERWISE = {  # norms elsewhere, blocks in parallel, mixtures of experts: with the modules that raw PyTorch reads
    "apertus": ({}, "self_attn", "o_proj", "self_attn", "mlp"),
    "starcoder2": ({}, "self_attn", "o_proj", "self_attn", "mlp"),
    "nemotron": ({}, "self_attn", "o_proj", "self_attn", "mlp"),
    "olmo": ({}, "self_attn", "o_proj", "self_attn", "mlp"),
    "glm": ({"pad_token_id": 1}, "self_attn", "o_proj", "self_attn", "mlp"),
    "glm4": ({"pad_token_id": 1}, "self_attn", "o_proj", "post_self_attn_layernorm", "post_mlp_layernorm"),
    "olmo2": ({}, "self_attn", "o_proj", "post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo3": ({"sliding_window": 8}, "self_attn", "o_proj", "post_attention_layernorm", "post_feedforward_layernorm"),
    "cohere": ({}, "self_attn", "o_proj", "self_attn", "mlp"),
    "phi": ({}, "self_attn", "dense", "self_attn", "mlp"),
    "gptj": ({"rotary_dim": 4, "num_key_value_heads": 4, "intermediate_size": 128}, "attn", "out_proj", "attn", "mlp"),
    "mixtral": ({"num_local_experts": 4}, "self_attn", "o_proj", "self_attn", "mlp"),
    "olmoe": ({"num_experts": 4, "num_experts_per_tok": 2}, "self_attn", "o_proj", "self_attn", "mlp"),
    "qwen3_moe": ({"num_experts": 4, "num_experts_per_tok": 2}, "self_attn", "o_proj", "self_attn", "mlp"),
    "hunyuan_v1_moe": ({"num_experts": 4}, "self_attn", "o_proj", "self_attn", "mlp"),
    "granitemoe": ({"num_local_experts": 4}, "self_attn", "o_proj", "self_attn", "block_sparse_moe"),
}
REFUSED = {
    "granite": ({"residual_multiplier": 0.22}, "must be hook_resid_pre [+] hook_attn_out"),
    "bitnet": ({}, "with values of one, attention must return one"),
    "gpt_oss": ({"num_local_experts": 4}, "calls attention in a way that is not supported .*s_aux"),
    "deepseek_v3": ({}, "architecture 'deepseek_v3' is not supported"),
    "bloom": ({}, "architecture 'bloom' is not supported"),
}


def tiny(model_type: str, **settings: object) -> PreTrainedModel:
    return build(AutoConfig.for_model(model_type, **{**GROUPED, "head_dim": 8, **settings}), seed=0)


@pytest.fixture(params=OPENED)
def hf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    model_type = request.param
    if model_type in UNGATED:
        monkeypatch.setitem(raw_hooks.LAYOUTS, model_type, raw_hooks.LLAMA._replace(pre="mlp.up_proj"))
    return tiny(model_type, **OPENED[model_type]).double().requires_grad_(False)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_every_number_equals_plain_pytorch(hf: PreTrainedModel) -> None:
    model = load_model(hf)
    plain, cache = model.run_with_cache(TOKENS)
    close(plain, hf(TOKENS, use_cache=False).logits)
    for name, expected in raw_hooks.read(hf, TOKENS).items():
        close(cache[name], expected)

    with masked(model, heads=[(1, 2)], ffns=[0]):
        actual = model(TOKENS)
    zero_head = ("blocks.1.attn.hook_z", lambda z: torch.cat([z[:, :, :2], 0 * z[:, :, 2:3], z[:, :, 3:]], 2))
    close(actual, raw_hooks.run_edited(hf, TOKENS, [("blocks.0.hook_mlp_out", torch.zeros_like), zero_head]))

    ids = TOKENS[0].tolist()
    requests = [EncodedRequest((*ids[:20], *rest), 20) for rest in (ids[20:23], ids[24:28], ids[3:5])]
    (scores,) = log_likelihoods(model, [requests])
    expected = [log_likelihood(hf, list(request.ids), request.start) for request in requests]
    close(torch.tensor([score.log_p for score in scores]), torch.tensor(expected))


def test_every_measure_equals_the_plain_loop(hf: PreTrainedModel) -> None:
    model = load_model(hf, tokenizer=TOKENIZER)
    row = torch.randperm(VOCAB - 10, generator=torch.Generator().manual_seed(0))[:9] + 10
    tokens = torch.cat([torch.tensor([BOS]), row.repeat(4)])[None]
    expected = reference_prefix.prefix_matching(hf, tokens, 9, "successor")[0]
    close(induction.prefix_matching(model, tokens, 9).values, expected)
    expected = reference_copying.copying(hf, tokens[:, :10], "head-output", bos=True).scores[0]
    close(induction.copying(model, tokens[:, :10]).values, expected)
    close(induction.copying(model, tokens[:, :10], "eigenvalue").values, reference_copying.eigenvalue_copying(hf))

    request = encode(TOKENIZER, EXAMPLE.context, EXAMPLE.continuation, longest=200)
    _, signed = head_sums(hf, list(request.ids), request.start)
    close(head_importance(model, [EXAMPLE], reduction="signed").values, signed.float())
    whole = log_likelihood(hf, list(request.ids), request.start)
    with masked(model, heads=[(0, 3)]):
        (without,) = log_likelihoods(model, [[request]])
    oracle = head_importance(model, [EXAMPLE], method="oracle").values
    assert float(oracle[0, 3]) == pytest.approx(whole - without[0].log_p, abs=1e-4)


@pytest.mark.parametrize("model_type", OTHERWISE)
def test_other_layouts_equal_plain_pytorch(model_type: str) -> None:
    settings, attention, output, added, mlp = OTHERWISE[model_type]
    hf = tiny(model_type, **settings).requires_grad_(False)
    model = load_model(hf)
    blocks = hf.get_submodule(model.family.layers)
    plain, cache = model.run_with_cache(TOKENS)
    close(plain, hf(TOKENS, use_cache=False).logits)
    close(
        torch.stack([cache["pattern", layer] for layer in range(3)]), torch.stack(raw_hooks.eager_patterns(hf, TOKENS))
    )
    for layer, block in enumerate(blocks):
        projection = block.get_submodule(attention).get_submodule(output)
        for name, module, side in (
            ("hook_resid_pre", block, "in"),
            ("attn.hook_z", projection, "in"),
            ("hook_attn_out", block.get_submodule(added), "out"),
            ("hook_mlp_out", block.get_submodule(mlp), "out"),
            ("hook_resid_post", block, "out"),
        ):
            expected = raw_hooks.run_and_take(hf, TOKENS, module, side)
            close(cache[f"blocks.{layer}.{name}"].flatten(2), expected)

    requests = [EncodedRequest((*TOKENS[0, :20].tolist(), *TOKENS[0, a:b].tolist()), 20) for a, b in ((3, 6), (20, 24))]
    (scores,) = log_likelihoods(model, [requests])
    expected = [log_likelihood(hf, list(request.ids), request.start) for request in requests]
    close(torch.tensor([score.log_p for score in scores]), torch.tensor(expected))

    zeroed = deepcopy(hf)
    changed = zeroed.get_submodule(model.family.layers)
    changed[1].get_submodule(attention).get_submodule(output).weight[:, 16:24] = 0
    changed[0].get_submodule(mlp).register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    with masked(model, heads=[(1, 2)], ffns=[0]):
        close(model(TOKENS), zeroed(TOKENS, use_cache=False).logits)


def test_experts_of_a_folder_are_read(tmp_path: Path) -> None:
    """On disk each expert has matrices of its own; in memory those of a layer are one tensor."""
    hf = tiny("qwen3_moe", num_experts=4, num_experts_per_tok=2).requires_grad_(False)
    hf.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert torch.equal(model(TOKENS), hf(TOKENS, use_cache=False).logits)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del weights[next(name for name in weights if "experts" in name)]
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"are incomplete|cannot read the weights"):
        load_model(tmp_path)


def test_hooks_that_a_model_lacks_say_why() -> None:
    experts = load_model(tiny("mixtral", num_local_experts=4).requires_grad_(False))
    with pytest.raises(InputError, match=r"no blocks.1.mlp.hook_post: .*a mixture of experts, say"):
        experts.run_with_cache(TOKENS, names=["blocks.1.mlp.hook_post"])
    with pytest.raises(InputError, match=r"no blocks.0.ln2.hook_normalized: .*no norm of its own"):
        load_model(tiny("cohere").requires_grad_(False)).run_with_cache(TOKENS, names=["blocks.0.ln2.hook_normalized"])


def test_costs_of_experts_are_not_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny("mixtral", num_local_experts=4).save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    (tmp_path / "study.toml").write_text('sequences = 2\n[[tasks]]\nnames = ["plural"]\nshots = [0]\n')
    options = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "run"), "--dry-run"]
    with pytest.raises(SystemExit) as exit_status:
        main(["study", str(tmp_path / "study.toml"), *options])
    assert exit_status.value.code == 2
    assert "what a pass of model costs is not known" in capsys.readouterr().err


def test_what_needs_a_described_architecture_is_refused(tmp_path: Path) -> None:
    hf = tiny("seed_oss")
    hf.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="headcount does not know how the weights of architecture 'seed_oss' are cut"):
        pruned(load_model(tmp_path, tokenizer=TOKENIZER), heads=[(0, 0)])
    for opened in (partial(load_model, stream=True), describe_model):
        with pytest.raises(
            InputError, match=r"'seed_oss' is not supported: .* or, with its weights in memory, one whose"
        ):
            opened(tmp_path)


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_works_otherwise_is_refused(model_type: str) -> None:
    settings, message = REFUSED[model_type]
    with pytest.raises(InputError, match=message):
        load_model(tiny(model_type, **settings))
