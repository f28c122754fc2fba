"""Log-likelihoods equal one plain forward pass for each request, on every architecture, whatever the batch."""

import pytest
import torch
from reference.importance import log_likelihood
from reference.models import BUILDERS, VOCAB, gemma3, opt

from headcount.importance.attribution.ablation_path import FROM_ZERO
from headcount.importance.attribution.leave_one_out import without_each_ffn, without_sets
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.log_likelihoods import log_likelihood_passes, log_likelihoods
from headcount.importance.likelihoods.prefix_tree import build_tree
from headcount.importance.likelihoods.tree_passes import document_trees, logit_positions
from headcount.tracing import load_model, masked

models = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


def documents(n=5, requests=3, seed=0):
    """Requests that share a context of 3 to 40 tokens and differ in continuations of 1 to 4."""
    draw = torch.Generator().manual_seed(seed)

    def random_ids(least, most):
        count = int(torch.randint(least, most + 1, (), generator=draw))
        return torch.randint(3, VOCAB, (count,), generator=draw).tolist()

    requests_by_document = []
    for _ in range(n):
        context = random_ids(3, 40)
        requests_by_document.append(
            [EncodedRequest((*context, *random_ids(1, 4)), len(context)) for _ in range(requests)]
        )
    return requests_by_document


@models
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_likelihoods_equal_one_forward_pass_each(build, implementation):
    hf = build()
    hf.set_attn_implementation(implementation)
    requests = documents()
    scores = log_likelihoods(load_model(hf), requests)
    expected = [[log_likelihood(hf, list(request.ids), request.start) for request in document] for document in requests]
    assert torch.allclose(
        torch.tensor([[v.log_p for v in values] for values in scores]), torch.tensor(expected), atol=1e-4
    )


@pytest.mark.parametrize("batch_size", [1, 2, 5, "auto"])
def test_the_batch_size_does_not_matter(batch_size):
    model = load_model(opt())
    requests = documents()
    expected = [[v.log_p for v in values] for values in log_likelihoods(model, requests, batch_size=3)]
    scores = [[v.log_p for v in values] for values in log_likelihoods(model, requests, batch_size=batch_size)]
    assert torch.allclose(torch.tensor(scores), torch.tensor(expected), atol=1e-5)


def test_greedy_tells_whether_every_token_is_the_likeliest():
    hf = opt()
    ids = [5, 6, 7]
    for _ in range(3):
        ids.append(int(hf(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    requests = [[EncodedRequest(tuple(ids), 3), EncodedRequest((*ids[:-1], (ids[-1] + 1) % VOCAB), 3)]]
    ((right, wrong),) = log_likelihoods(load_model(hf), requests)
    assert (right.greedy, wrong.greedy) == (True, False)


def test_logits_that_several_requests_go_on_from_are_computed_once():
    forked = build_tree([EncodedRequest((5, 6, 7, 8), 2), EncodedRequest((5, 6, 7, 9), 2)])
    positions = logit_positions([forked, build_tree([EncodedRequest((5, 6), 1)])], torch.device("cpu"))
    assert list(zip(positions.row.tolist(), positions.pos.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0)]
    assert positions.place.tolist() == [0, 1, 0, 1, 2]
    assert positions.target.tolist() == [7, 8, 7, 9, 6]


def test_requests_longer_than_a_window_are_run_apart():
    model = load_model(gemma3())
    requests = documents(3, requests=2)
    assert max(len(request.ids) for document in requests for request in document) > model.hf.config.sliding_window
    assert [place for place, _ in document_trees(model, requests)] == [0, 0, 1, 1, 2, 2]


def test_removed_parts_stay_removed():
    model = load_model(opt())
    requests = documents()
    with masked(model, heads=[(1, 2)], ffns=[0]):
        without = log_likelihoods(model, requests)
    assert without != log_likelihoods(model, requests)


def run(model, prepared):
    passes, read = prepared
    return read(model.run_passes(passes))


def scores_of_trees(model, trees):
    return [values for (values,) in run(model, log_likelihood_passes(model, trees, [()]))]


@models
def test_without_each_ffn_equals_the_naive_loop_exactly(build):
    model = load_model(build())
    trees = [tree for _, tree in document_trees(model, documents())]
    by_tree = run(model, without_each_ffn(model, trees))
    scores = [[values[run_number] for values in by_tree] for run_number in range(model.sizes.n_layers + 1)]
    assert scores[0] == scores_of_trees(model, trees)
    for layer in range(model.sizes.n_layers):
        with masked(model, ffns=[layer]):
            assert scores[layer + 1] == scores_of_trees(model, trees)


@models
def test_without_each_head_equals_the_naive_loop(build):
    model = load_model(build())
    trees = [tree for _, tree in document_trees(model, documents(3, requests=1))]
    heads = [[(layer, head)] for layer in range(model.sizes.n_layers) for head in range(model.sizes.n_heads)]
    scores = torch.stack(run(model, without_sets(model, trees, heads, FROM_ZERO)))
    scores = scores.view(len(trees), model.sizes.n_layers, -1)
    whole = torch.tensor([values[0].log_p for values in scores_of_trees(model, trees)])
    for layer in range(model.sizes.n_layers):
        for head in range(model.sizes.n_heads):
            with masked(model, heads=[(layer, head)]):
                without = torch.tensor([values[0].log_p for values in scores_of_trees(model, trees)])
            assert torch.allclose(scores[:, layer, head], whole - without, atol=1e-4)
