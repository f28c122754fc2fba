"""Models that compute attention themselves: every number equals plain loops over their own eager attention."""

from pathlib import Path

import pytest
import torch
from reference import copying as reference_copying
from reference import parts, zoo
from reference import prefix as reference_prefix
from reference.models import bpe_tokenizer
from torch import Tensor
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention

from headcount import induction
from headcount.results import InputError
from headcount.tracing import AttentionCall, Hook, Model, load_model

PERIOD = 7
TOKENS = (torch.randperm(90, generator=torch.Generator().manual_seed(1))[:PERIOD] + 10).repeat(4)[None]
GROUPED = {"new_decoder_architecture": True, "num_kv_heads": 2}
EAGER_ALIBI = {"alibi": True, "multi_query": False, "num_kv_heads": 4, "parallel_attn": False, "bias": True}
CASES = [
    ("bloom", {}, "transformer.h", "self_attention.dense"),
    ("bloom", {"n_head": 6, "hidden_size": 96}, "transformer.h", "self_attention.dense"),
    ("falcon", {}, "transformer.h", "self_attention.dense"),
    ("falcon", GROUPED, "transformer.h", "self_attention.dense"),
    ("falcon", EAGER_ALIBI | {"attn_implementation": "eager"}, "transformer.h", "self_attention.dense"),
    ("gpt_neo", {}, "transformer.h", "attn.attention.out_proj"),
    ("mpt", {"attn_config": {"softmax_scale": 0.4, "alibi_bias_max": 4}}, "transformer.blocks", "attn.out_proj"),
    ("openai-gpt", {}, "transformer.h", "attn.c_proj"),
    ("xglm", {}, "model.layers", "self_attn.out_proj"),
]


class Case:
    def __init__(self, model_type: str, settings: dict, blocks: str, output: str) -> None:
        self.hf = zoo.tiny(model_type, **settings)
        self.model = load_model(self.hf)
        self.blocks, self.output = blocks, output


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{len(case[1])}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


def close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("model_type", ["bloom", "falcon", "gpt_neo", "mpt", "openai-gpt", "xglm"])
def test_a_folder_opens(model_type: str, tmp_path: Path) -> None:
    hf = zoo.tiny(model_type)
    hf.save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    assert torch.equal(load_model(tmp_path)(TOKENS), hf(TOKENS, use_cache=False).logits)


def test_prefix_matching_equals_the_plain_loop(case: Case) -> None:
    for definition in ("successor", "offset"):
        expected = reference_prefix.prefix_matching(case.hf, TOKENS, PERIOD, definition)[0]
        close(induction.prefix_matching(case.model, TOKENS, PERIOD, definition=definition).values, expected)


def test_copying_equals_the_plain_loop(case: Case) -> None:
    tokens = TOKENS[0, :PERIOD]
    scores = induction.copying(case.model, tokens[None]).values
    for layer in range(case.model.sizes.n_layers):
        pattern, z = layer_alone(case, layer, tokens)
        projection = case.hf.get_submodule(case.blocks)[layer].get_submodule(case.output)
        for head in range(len(pattern)):
            only = torch.zeros_like(z)
            only[:, head] = z[:, head]
            raised = case.hf.get_output_embeddings()(projection(only.flatten(1))).softmax(-1)
            shares = []
            for j in range(1, len(tokens)):
                attended = reference_copying.most_attended(pattern[head, j, : j + 1].tolist())
                rises = raised[j, tokens[: j + 1]].tolist()
                shares.append(reference_copying.share_of_rise(rises, attended))
            assert float(scores[layer, head]) == pytest.approx(sum(shares) / len(shares), abs=1e-5)


def layer_alone(case: Case, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return a layer's pattern [head, query, key] and z [pos, head, d_head] where it reads the first one's input."""
    eager = parts.eager_copy(case.hf).float()
    blocks, streams, seen = eager.get_submodule(case.blocks), [], []

    def read_the_first(module, args):
        streams.append(args[0])
        return (streams[0], *args[1:])

    for block in (blocks[0], blocks[layer]):
        block.register_forward_pre_hook(read_the_first)
    blocks[layer].get_submodule(case.output).register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    pattern = eager(tokens[None], use_cache=False, output_attentions=True).attentions[layer][0]
    return pattern, seen[-1].unflatten(-1, (len(pattern), -1))


def test_queries_and_keys_count_as_in_the_model(case: Case) -> None:
    """Twice the projection's output is twice what enters attention: all of these are linear in between."""
    for name, entering in (("hook_q", "hook_rot_q"), ("hook_k", "hook_rot_k")):
        edits = [
            case.model.run_with_hooks(TOKENS, [(f"blocks.1.attn.{hook}", lambda value, hook: 2 * value)])
            for hook in (name, entering)
        ]
        assert not torch.allclose(edits[0], case.model(TOKENS), atol=1e-3)
        close(edits[1], edits[0])


def test_scores_and_patterns_agree(case: Case) -> None:
    def raise_the_first(scores: Tensor, hook: Hook) -> Tensor:
        return scores + torch.arange(scores.shape[-1]) / 10

    raised = case.model.run_with_hooks(TOKENS, [("blocks.1.attn.hook_attn_scores", raise_the_first)])
    _, cache = case.model.run_with_cache(TOKENS, names="blocks.1.attn.hook_attn_scores")
    pattern = raise_the_first(cache["blocks.1.attn.hook_attn_scores"], Hook("")).softmax(-1)
    close(case.model.run_with_hooks(TOKENS, [("blocks.1.attn.hook_pattern", lambda value, hook: pattern)]), raised)


def test_single_entries_are_those_of_the_pattern_with_padding(case: Case) -> None:
    tokens, mask = TOKENS.repeat(2, 1), torch.ones(2, TOKENS.shape[1], dtype=torch.long)
    mask[1, :5] = 0
    calls: list[AttentionCall] = []

    def hold(call: AttentionCall, hook: Hook) -> None:
        calls.append(call)

    case.model.run_with_hooks(tokens, [("blocks.1.attn.call", hold)], attention_mask=mask)
    pattern = calls[0].pattern()
    output, log_sum_exp = calls[0].attend()
    query = torch.arange(5, 28).repeat(2, 1)
    key = torch.stack([torch.arange(23), torch.arange(5, 28)])
    entries = calls[0].entries(query, key, log_sum_exp)
    for row in range(2):
        close(entries[row], pattern[row][:, query[row], key[row]])
        close(output[row, :, 5:], calls[0].apply(pattern)[row, :, 5:])


def test_the_model_itself_stays_as_it_was(case: Case) -> None:
    before = case.hf(TOKENS, use_cache=False).logits
    case.model.run_with_cache(TOKENS)
    assert torch.equal(case.hf(TOKENS, use_cache=False).logits, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.hf.modules())


def test_a_hook_keeps_the_value_that_it_was_called_with() -> None:
    """Falcon adds attention's output to that of the network in place."""
    model = load_model(zoo.tiny("falcon"))
    held: list[Tensor] = []
    model.run_with_hooks(TOKENS, [("blocks.1.hook_mlp_out", lambda value, hook: held.append(value))])
    _, cache = model.run_with_cache(TOKENS)
    assert torch.equal(held[0], cache["blocks.1.hook_mlp_out"])
    stream, attention = cache["blocks.1.hook_resid_pre"], cache["blocks.1.hook_attn_out"]
    close(stream + attention + held[0], cache["blocks.1.hook_resid_post"])


def test_other_attention_of_a_models_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def capped(self, query, key, value, attention_mask=None):
        scores = (query @ key.mT).tanh().masked_fill(~self.bias[:, :, : query.shape[2], : query.shape[2]], -torch.inf)
        pattern = scores.softmax(-1)
        return pattern @ value, pattern

    monkeypatch.setattr(GPTNeoSelfAttention, "_attn", capped)
    with pytest.raises(InputError, match="it computes attention itself, and not as a softmax over products"):
        load_model(zoo.tiny("gpt_neo"))


@pytest.mark.parametrize("model_type", ["bloom", "minimax", "mpt", "qwen3_next", "recurrent_gemma"])
def test_rounding_in_half_precision_does_not_hide_leaks(model_type: str) -> None:
    exact, half = load_model(zoo.tiny(model_type)), load_model(zoo.tiny(model_type).bfloat16())
    assert (half.shares_rows, half.padding) == (exact.shares_rows, exact.padding)
    assert not half.shares_rows


def test_the_scale_is_the_stated_one_in_half_precision() -> None:
    settings = {"attn_config": {"softmax_scale": 0.4}}
    for dtype in (torch.bfloat16, torch.float16):
        model: Model = load_model(zoo.tiny("mpt", **settings).to(dtype))
        assert [model.paths(layer).scale for layer in range(3)] == [0.4] * 3
