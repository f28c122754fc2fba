"""Types that are found by running them, beside TransformerLens' bridge: every hook that both have is the same.

Where it is not, plain sums, softmaxes and module inputs say who is right. A test of `TestDefects` that fails says that
upstream has mended something: let the comparison include it then.
"""

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from reference import zoo
from reference.bridges import bridge
from torch import Tensor

from headcount.tracing import Model, load_model

TOKENS = torch.randint(4, zoo.VOCAB, (2, 20), generator=torch.Generator().manual_seed(0))
SETTINGS: dict[str, dict[str, Any]] = {
    "bamba": {},
    "cohere2": {},
    "ernie4_5_moe": {},
    "exaone4": {},
    "glm4": {},
    "gpt_bigcode": {},
    "gpt_oss": {},
    "granite": {"residual_multiplier": 0.22, "embedding_multiplier": 12.0, "attention_multiplier": 0.5},
    "lfm2": {},
    "mixtral": {},
    "nemotron": {},
    "olmo2": {},
    "phi": {},
    "phi3": {},
    "qwen3_moe": {},
    "stablelm": {"use_parallel_residual": True},
    "starcoder2": {"sliding_window": 8},
}
"""Types of which the bridge reads every hook right, each with settings of published models."""
SCORES_ARE_PATTERNS = ("afmoe", "gptj", "jamba", "laguna", "llama4_text", "nanochat", "olmo_hybrid")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Pair(NamedTuple):
    hf: Any
    ours: Model
    theirs: Any
    cached: Any
    their_cached: Any


@cache
def pair(model_type: str) -> Pair:
    hf = zoo.tiny(model_type, **SETTINGS.get(model_type, {}))
    ours, theirs = load_model(hf), bridge(hf)
    return Pair(hf, ours, theirs, ours.run_with_cache(TOKENS)[1], theirs.run_with_cache(TOKENS)[1])


def close(actual: Tensor, expected: Tensor, what: str = "", tolerance: float = 1e-5) -> None:
    assert actual.shape == expected.shape, what
    assert (actual - expected).abs().max() <= tolerance * max(1.0, expected.abs().max()), what


def edit(value: Tensor, hook: Any) -> Tensor:
    return 0.7 * value.flip(-1) + 0.1


@pytest.mark.parametrize("model_type", SETTINGS)
def test_every_hook_that_both_have(model_type: str) -> None:
    _, ours, _, cached, their_cached = pair(model_type)
    both = [name for name in ours.hooks if name in their_cached]
    for name in both:
        actual, expected = cached[name], their_cached[name]
        if name.endswith("hook_attn_scores"):  # where attention is not allowed, theirs are large and finite
            allowed = actual > -torch.inf
            assert (expected[~allowed] < -1e4).all()
            actual, expected = actual[allowed], expected[allowed]
        close(actual, expected, name)
    layer = ours.layers_with_heads[-1]
    in_block = {name.split(".", 2)[2] for name in both if name.startswith(f"blocks.{layer}.")}
    assert in_block >= {
        *(f"attn.hook_{part}" for part in ("q", "k", "v", "attn_scores", "pattern", "z")),
        *("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post"),
    }


@pytest.mark.parametrize("model_type", ["bamba", "gpt_oss", "mixtral", "olmo2", "phi", "phi3"])
def test_every_edit_has_the_same_effect(model_type: str) -> None:
    _, ours, theirs, _, their_cached = pair(model_type)
    plain, layer = ours(TOKENS), ours.layers_with_heads[-1]
    for name in ours.hooks:
        known = name.endswith(("hook_resid_mid", "hook_attn_scores"))  # see test_transformer_lens.py
        if name not in their_cached or known or not name.startswith(f"blocks.{layer}."):
            continue
        actual = ours.run_with_hooks(TOKENS, [(name, edit)])
        assert (actual - plain).abs().max() > 1e-3, name
        close(actual, theirs.run_with_hooks(TOKENS, fwd_hooks=[(name, edit)]), name)


class TestDefects:
    """Of transformer-lens 4.3."""

    @pytest.mark.parametrize("model_type", SCORES_ARE_PATTERNS)
    def test_scores_are_patterns(self, model_type: str) -> None:
        """All else agrees; the softmax of our scores is the pattern that both have."""
        _, ours, _, cached, their_cached = pair(model_type)
        for name in ours.hooks:
            if name in their_cached and not name.endswith("hook_attn_scores"):
                close(cached[name], their_cached[name], name)
        for layer in ours.layers_with_heads:
            name = f"blocks.{layer}.attn.hook_"
            assert torch.equal(their_cached[f"{name}attn_scores"], their_cached[f"{name}pattern"])
            close(cached[f"{name}attn_scores"].softmax(-1), their_cached[f"{name}pattern"])

    def test_hunyuans_rotated_queries_lack_the_norm_behind_the_rotation(self) -> None:
        _, ours, _, cached, their_cached = pair("hunyuan_v1_dense")
        for layer in range(3):
            name, factor = f"blocks.{layer}.attn.hook_", ours.sizes.d_head**-0.5
            pattern, groups = their_cached[f"{name}pattern"], ours.sizes.n_heads // ours.sizes.n_kv_heads
            for cache_, is_right in ((cached, True), (their_cached, False)):
                query, key = (cache_[f"{name}rot_{part}"].transpose(1, 2) for part in ("q", "k"))
                scores = factor * query @ key.repeat_interleave(groups, 1).transpose(-1, -2)
                masked = scores.masked_fill(torch.ones(20, 20).triu(1).bool(), -torch.inf)
                assert torch.allclose(masked.softmax(-1), pattern, atol=1e-5) == is_right

    @pytest.mark.parametrize("model_type", ["deepseek_v2", "deepseek_v3"])
    def test_latent_attention_has_other_axes_and_heads_cut_by_the_width_of_the_rotation(self, model_type: str) -> None:
        hf, ours, _, cached, their_cached = pair(model_type)
        given: list[Tensor] = []
        projection = hf.model.layers[1].self_attn.o_proj
        handle = projection.register_forward_pre_hook(lambda module, args: given.append(args[0]))
        hf(TOKENS, use_cache=False)
        handle.remove()
        name = "blocks.1.attn.hook_"
        close(cached[f"{name}v"].transpose(1, 2), their_cached[f"{name}v"])
        close(cached[f"{name}rot_q"].transpose(1, 2), their_cached[f"{name}q"])  # theirs are rotated
        n_heads = ours.sizes.n_heads
        close(cached[f"{name}z"], given[0].unflatten(-1, (n_heads, -1)))
        assert their_cached[f"{name}z"].shape[2] == 2 * n_heads
        close(their_cached[f"{name}z"].flatten(2), given[0])
        rotated = hf.config.qk_rope_head_dim
        assert their_cached[f"{name}rot_q"].shape[-1] == rotated < cached[f"{name}rot_q"].shape[-1]
        scores = cached[f"{name}rot_q"].transpose(1, 2) @ cached[f"{name}rot_k"].permute(0, 2, 3, 1)
        masked = (scores * hf.model.layers[1].self_attn.scaling).masked_fill(
            torch.ones(20, 20).triu(1).bool(), -torch.inf
        )
        close(masked.softmax(-1), their_cached[f"{name}pattern"])

    @pytest.mark.parametrize("model_type", ["qwen3_next", "qwen3_5_text"])
    def test_gates_are_taken_for_queries(self, model_type: str) -> None:
        hf, ours, _, cached, their_cached = pair(model_type)
        name, s = "blocks.1.attn.hook_q", ours.sizes
        assert their_cached[name].shape == (2, 20, 2 * s.n_heads, s.d_head)  # each second one is a head's gate
        close(cached[name], their_cached[name][:, :, ::2])
        scores = ours.run_with_cache(TOKENS, fwd_hooks=[(name, lambda value, hook: 0 * value)])[1]["attn_scores", 1]
        assert not scores[scores > -torch.inf].any()  # queries of zero: the edit leaves the gates alone
        changed = ours.run_with_hooks(TOKENS, [(name, lambda value, hook: value.clone())])
        close(changed, hf(TOKENS, use_cache=False).logits)

    def test_gemma_4_adds_what_a_norm_gives(self) -> None:
        """Theirs is the network's output in front of that norm, and does not add up."""
        _, _, _, cached, their_cached = pair("gemma4_text")
        for layer in range(3):
            block = f"blocks.{layer}.hook_"
            for cache_, adds_up in ((cached, True), (their_cached, False)):
                total = cache_[f"{block}resid_mid"] + cache_[f"{block}mlp_out"]
                assert torch.allclose(total, cache_[f"{block}resid_post"], atol=1e-4) == adds_up

    def test_modernberts_embedding_is_normed(self) -> None:
        hf, _, _, cached, their_cached = pair("modernbert-decoder")
        close(cached["hook_embed"], hf.get_input_embeddings()(TOKENS))
        close(their_cached["hook_embed"], cached["blocks.0.hook_resid_pre"])
