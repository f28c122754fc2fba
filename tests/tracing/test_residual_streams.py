"""Residual streams with factors, norms or a third part in them, and blocks of one part: hooks keep their meaning."""

import pytest
import torch
from reference import parts, zoo
from reference.models import bpe_tokenizer
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.helium.modeling_helium import HeliumAttention, HeliumMLP, apply_rotary_pos_emb

from headcount.importance import head_importance, load_task
from headcount.importance.measure import ffn_importance
from headcount.results import InputError
from headcount.tracing import Hook, load_model, masked

TOKENS = torch.randint(4, zoo.VOCAB, (2, 12), generator=torch.Generator().manual_seed(0))
TOKENIZER = bpe_tokenizer()


def close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("beam", {}),
        ("doge", {}),
        ("falcon_h1", {"attention_out_multiplier": 0.9, "ssm_out_multiplier": 0.7}),
        ("granite", {"residual_multiplier": 0.22}),
        ("minimax", {"full_attn_alpha_factor": 0.7, "mlp_beta_factor": 1.3}),
        ("openai-gpt", {}),
    ],
)
def test_a_written_stream_is_what_the_network_reads(model_type: str, settings: dict[str, object]) -> None:
    """The norm reads it, and the block adds the network's output to it."""
    hf = zoo.tiny(model_type, **settings)
    model = load_model(hf)
    family, block = model.paths(1), hf.get_submodule(model.family.layers)[1]
    written = torch.randn(*TOKENS.shape, model.sizes.d_model, generator=torch.Generator().manual_seed(1))
    seen: dict[str, Tensor] = {}

    def record(value: Tensor, hook: Hook) -> None:
        seen[hook.name] = value.clone()

    names = ["blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"]
    hooks = [("blocks.1.hook_resid_mid", lambda value, hook: written), *((name, record) for name in names)]
    if not model.variant.post_norm:  # torch's hooks must be there when the model is opened
        handle = block.get_submodule(family.norm_2).register_forward_pre_hook(
            lambda module, args: seen.update(read=args[0].clone())
        )
        model = load_model(hf)
    model.run_with_hooks(TOKENS, hooks)
    mlp_out, after = (seen[name] for name in names)
    if model.variant.post_norm:
        close(after, block.get_submodule(family.norm_2)(written + mlp_out))
    else:
        handle.remove()
        close(seen["read"], written)
        close(after, parts.times(block, family, 1, written) + mlp_out)


class TestBlocksOfOnePart:
    """Nemotron-H: a state space, attention, a mixture of experts, a feed-forward network."""

    @pytest.fixture(scope="class")
    def model(self):
        return load_model(zoo.tiny("nemotron_h"), tokenizer=TOKENIZER)

    def test_hooks_of_absent_parts_say_so(self, model) -> None:
        assert (model.layers_with_heads, model.anatomy.layers_with_ffns()) == ([1], [2, 3])
        for name, reason in {
            "blocks.1.hook_mlp_out": "layer 1 has no feed-forward network",
            "blocks.0.hook_resid_mid": "layer 0 has no feed-forward network",
            "blocks.3.hook_attn_out": "layer 3 has nothing but a feed-forward network",
            "blocks.3.attn.hook_z": "layer 3 has no attention heads$",
            "blocks.0.attn.hook_z": "layer 0 has no attention heads; hook_attn_out has",
        }.items():
            with pytest.raises(InputError, match=f"there is no .*: {reason}"):
                model.run_with_cache(TOKENS, names=[name])

    def test_absent_networks_are_not_removed(self, model) -> None:
        with pytest.raises(InputError, match="layer 1 has no feed-forward network"), masked(model, ffns=[1]):
            model(TOKENS)

    def test_importance_is_not_given_for_absent_parts(self, model) -> None:
        task = load_task("plural")
        scores = ffn_importance(model, task, limit=3)
        assert scores.values.isnan().tolist() == [True, True, False, False]
        assert scores.extras["log_p"].isnan().tolist() == [True, True, False, False]
        heads = head_importance(model, task.examples(0, 2), method="oracle").values
        assert heads.isnan().all(1).tolist() == [True, False, True, True]


def test_projections_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values before keys before queries, and the other factor before the gate."""
    hf = zoo.tiny("helium")
    plain = hf(TOKENS, use_cache=False).logits

    def attend(self, hidden_states, position_embeddings=None, attention_mask=None, **kwargs):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        projections = (self.v_proj, self.k_proj, self.q_proj)
        v, k, q = (projection(hidden_states).view(shape).transpose(1, 2) for projection in projections)
        q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        attention_interface = ALL_ATTENTION_FUNCTIONS.get_interface("sdpa", None)
        z, pattern = attention_interface(self, q, k, v, attention_mask, scaling=self.scaling)
        return self.o_proj(z.flatten(2)), pattern

    def feed_forward(self, x):
        linear = self.up_proj(x)
        return self.down_proj(self.act_fn(self.gate_proj(x)) * linear)

    usual = load_model(zoo.tiny("helium")).run_with_cache(TOKENS)[1]
    monkeypatch.setattr(HeliumAttention, "forward", attend)
    monkeypatch.setattr(HeliumMLP, "forward", feed_forward)
    model = load_model(zoo.tiny("helium"))
    logits, cache = model.run_with_cache(TOKENS)
    close(logits, plain)
    assert cache.keys() == usual.keys()
    for name, value in cache.items():
        close(value.clamp(min=-1e4), usual[name].clamp(min=-1e4))
