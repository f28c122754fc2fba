"""Importance of experts, against autograd and against real removal; KV groups as heads that go together."""

import pytest
import torch
from reference import zoo
from reference.importance import log_likelihood
from reference.models import bpe_tokenizer, llama
from transformers import PreTrainedModel

from headcount.importance import Example, expert_importance, head_importance
from headcount.importance.likelihoods.encoding import encode
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import ExpertScores, InputError
from headcount.tracing import Model, load_model, masked, pruned, removed_parameters

TOKENIZER = bpe_tokenizer()
EXAMPLES = [Example("the cat sat on the", " mat and"), Example("a dog ran", " to me")]
REQUESTS = [encode(TOKENIZER, example.context, example.continuation, longest=100) for example in EXAMPLES]


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    return zoo.tiny("qwen3_moe", mlp_only_layers=[1])


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf, tokenizer=TOKENIZER)


def derivative(hf: PreTrainedModel, ids: list[int], start: int) -> torch.Tensor:
    """Return the derivative of the loss by a factor on each expert's weight: [layer, expert]."""
    factors = torch.ones(3, 4, requires_grad=True)
    handles = [
        hf.model.layers[layer].mlp.experts.register_forward_pre_hook(
            lambda module, args, layer=layer: (args[0], args[1], args[2] * factors[layer][args[1]])
        )
        for layer in (0, 2)
    ]
    log_p = hf(torch.tensor([ids[:-1]]), use_cache=False).logits[0].log_softmax(-1)
    loss = -torch.stack([log_p[place - 1, ids[place]] for place in range(start, len(ids))]).mean()
    (gradient,) = torch.autograd.grad(loss, factors)
    for handle in handles:
        handle.remove()
    return gradient


@pytest.mark.parametrize("reduction", ["example", "signed"])
def test_gradients_equal_autograd(hf: PreTrainedModel, model: Model, reduction: str) -> None:
    scores = expert_importance(model, EXAMPLES, reduction=reduction)
    by_example = torch.stack([derivative(hf, list(request.ids), request.start) for request in REQUESTS])
    expected = (by_example.abs() if reduction == "example" else by_example).mean(0)
    assert (scores.values[[0, 2]] - expected[[0, 2]]).abs().max() <= 1e-5
    assert scores.values[1].isnan().all()  # a dense layer
    assert scores.label(2, 3) == "L2E3"
    assert len(scores.top(12)) == 8


def test_the_oracle_is_real_removal(hf: PreTrainedModel, model: Model) -> None:
    scores = expert_importance(model, EXAMPLES, method="oracle")
    whole = [log_likelihood(hf, list(request.ids), request.start) for request in REQUESTS]
    for layer, expert in ((0, 1), (2, 3)):
        with masked(model, experts=[(layer, expert)]):
            without = [score.log_p for (score,) in log_likelihoods(model, [[request] for request in REQUESTS])]
        drop = sum(before - after for before, after in zip(whole, without, strict=True)) / 2
        assert float(scores.values[layer, expert]) == pytest.approx(drop, abs=1e-5)


def test_scores_are_stored(model: Model, tmp_path) -> None:
    scores = expert_importance(model, EXAMPLES)
    scores.save(tmp_path / "experts")
    again = ExpertScores.load(tmp_path / "experts")
    assert torch.equal(again.values.nan_to_num(), scores.values.nan_to_num())
    assert "removed_experts" not in scores.provenance
    with masked(model, experts=[(0, 1)]):
        assert expert_importance(model, EXAMPLES).provenance["removed_experts"] == [[0, 1]]
        with pytest.raises(InputError, match=r"experts of .* are removed at present"):
            removed_parameters(model, heads=[(0, 0)])


def test_what_there_is_not_is_refused(model: Model) -> None:
    dense = load_model(llama(0), tokenizer=TOKENIZER)
    with pytest.raises(InputError, match="has no mixture of experts"):
        expert_importance(dense, EXAMPLES)
    with pytest.raises(InputError, match="has no mixture of experts"), masked(dense, experts=[(0, 0)]):
        pass
    no_mixture = pytest.raises(InputError, match=r"no blocks.1.mlp.hook_router: this layer is no mixture")
    with no_mixture, masked(model, experts=[(1, 0)]):
        model(torch.tensor([[5, 6, 7]]))
    hook = ("blocks.0.mlp.hook_router", lambda value, hook: torch.ones_like(value))
    with pytest.raises(InputError, match="a weight to an expert that was not chosen"):
        model.run_with_hooks(torch.tensor([[5, 6, 7]]), [hook])


def test_an_expert_whose_output_is_zeroed_is_removed(model: Model) -> None:
    tokens, name = torch.tensor([[5, 6, 7, 8]]), "blocks.0.mlp.hook_expert_out"

    def without(outputs: torch.Tensor, hook: object) -> torch.Tensor:
        outputs[..., 1, :] = 0
        return outputs

    assert name not in model.run_with_cache(tokens)[1]
    zeroed = model.run_with_hooks(tokens, [(name, without)])
    with masked(model, experts=[(0, 1)]):
        assert (model(tokens) - zeroed).abs().max() < 1e-5
    assert not torch.allclose(model(tokens), zeroed)
    with pytest.raises(InputError, match=r"no blocks.1.mlp.hook_expert_out: this layer is no mixture"):
        model.run_with_cache(tokens, names=["blocks.1.mlp.hook_expert_out"])


def test_a_kv_group_is_its_heads(model: Model) -> None:
    tokens = torch.tensor([[5, 6, 7, 8]])
    with masked(model, heads=[(1, 2), (1, 3)]):
        expected = model(tokens)
    with masked(model, kv_groups=[(1, 1)]):
        assert torch.equal(model(tokens), expected)
        assert head_importance(model, EXAMPLES).provenance["removed_heads"] == [[1, 2], [1, 3]]


def test_a_kv_group_is_cut_from_the_weights() -> None:
    whole = load_model(llama(0), tokenizer=TOKENIZER)
    size = whole.sizes.n_heads // whole.sizes.n_kv_heads
    heads = [(1, head) for head in range(size)]
    tokens = torch.tensor([[5, 6, 7, 8]])
    cut = pruned(whole, kv_groups=[(1, 0)])
    with masked(whole, kv_groups=[(1, 0)]):
        assert (cut(tokens) - whole(tokens)).abs().max() <= 1e-5
    assert removed_parameters(whole, kv_groups=[(1, 0)]) == removed_parameters(whole, heads=heads)
    with pytest.raises(InputError, match="kv_groups to remove must lie within"):
        pruned(whole, kv_groups=[(0, whole.sizes.n_kv_heads)])
