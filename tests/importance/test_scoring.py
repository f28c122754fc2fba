"""Log-likelihoods equal one plain forward pass for each request, on every architecture, whatever the batch."""

import pytest
import torch
from reference.importance import log_likelihood
from reference.models import BUILDERS, VOCAB, gemma3, opt

from headcount.importance.attribution.passes import without_each_ffn, without_each_head
from headcount.importance.likelihoods.prefix_tree import Tokens, grow
from headcount.importance.likelihoods.score import each_pass, forest, likelihoods, needed
from headcount.tracing import load_model, masked

models = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


def documents(n=5, requests=3, seed=0):
    """Requests that share a context of 3 to 40 tokens and differ in continuations of 1 to 4."""
    draw = torch.Generator().manual_seed(seed)

    def some(least, most):
        count = int(torch.randint(least, most + 1, (), generator=draw))
        return torch.randint(3, VOCAB, (count,), generator=draw).tolist()

    found = []
    for _ in range(n):
        context = some(3, 40)
        found.append([Tokens((*context, *some(1, 4)), len(context)) for _ in range(requests)])
    return found


@models
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_likelihoods_equal_one_forward_pass_each(build, implementation):
    hf = build()
    hf.set_attn_implementation(implementation)
    asked = documents()
    found = likelihoods(load_model(hf), asked)
    expected = [[log_likelihood(hf, list(one.ids), one.start) for one in document] for document in asked]
    assert torch.allclose(
        torch.tensor([[v.log_p for v in values] for values in found]), torch.tensor(expected), atol=1e-4
    )


@pytest.mark.parametrize("batch_size", [1, 2, 5, "auto"])
def test_the_batch_size_does_not_matter(batch_size):
    model = load_model(opt())
    asked = documents()
    expected = [[v.log_p for v in values] for values in likelihoods(model, asked, batch_size=3)]
    found = [[v.log_p for v in values] for values in likelihoods(model, asked, batch_size=batch_size)]
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-5)


def test_greedy_tells_whether_every_token_is_the_likeliest():
    hf = opt()
    ids = [5, 6, 7]
    for _ in range(3):
        ids.append(int(hf(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    asked = [[Tokens(tuple(ids), 3), Tokens((*ids[:-1], (ids[-1] + 1) % VOCAB), 3)]]
    ((right, wrong),) = likelihoods(load_model(hf), asked)
    assert (right.greedy, wrong.greedy) == (True, False)


def test_logits_that_several_requests_go_on_from_are_computed_once():
    forked = grow([Tokens((5, 6, 7, 8), 2), Tokens((5, 6, 7, 9), 2)])
    asked = needed([forked, grow([Tokens((5, 6), 1)])], torch.device("cpu"))
    assert list(zip(asked.row.tolist(), asked.pos.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0)]
    assert asked.place.tolist() == [0, 1, 0, 1, 2]
    assert asked.target.tolist() == [7, 8, 7, 9, 6]


def test_requests_longer_than_a_window_are_run_apart():
    model = load_model(gemma3())
    asked = documents(3, requests=2)
    assert max(len(one.ids) for document in asked for one in document) > model.hf.config.sliding_window
    assert [place for place, _ in forest(model, asked)] == [0, 0, 1, 1, 2, 2]


def test_removed_parts_stay_removed():
    model = load_model(opt())
    asked = documents()
    with masked(model, heads=[(1, 2)], ffns=[0]):
        without = likelihoods(model, asked)
    assert without != likelihoods(model, asked)


def run(model, prepared):
    passes, read = prepared
    return read(model.run_passes(passes))


def of_trees(model, trees):
    return [values for (values,) in run(model, each_pass(model, trees, [()]))]


@models
def test_without_each_ffn_equals_the_naive_loop_exactly(build):
    model = load_model(build())
    trees = [tree for _, tree in forest(model, documents())]
    by_tree = run(model, without_each_ffn(model, trees))
    found = [[values[which] for values in by_tree] for which in range(model.sizes.n_layers + 1)]
    assert found[0] == of_trees(model, trees)
    for layer in range(model.sizes.n_layers):
        with masked(model, ffns=[layer]):
            assert found[layer + 1] == of_trees(model, trees)


@models
def test_without_each_head_equals_the_naive_loop(build):
    model = load_model(build())
    trees = [tree for _, tree in forest(model, documents(3, requests=1))]
    found = torch.stack(run(model, without_each_head(model, trees)))
    whole = torch.tensor([values[0].log_p for values in of_trees(model, trees)])
    for layer in range(model.sizes.n_layers):
        for head in range(model.sizes.n_heads):
            with masked(model, heads=[(layer, head)]):
                gone = torch.tensor([values[0].log_p for values in of_trees(model, trees)])
            assert torch.allclose(found[:, layer, head], whole - gone, atol=1e-4)
