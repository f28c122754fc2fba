"""Feed-forward networks: the drop estimated from gradients, and verified by ablation."""

import pytest
import torch
from reference import ablation
from reference.importance import ffn_path_sums, log_likelihood, without_ffn
from reference.models import BUILDERS, bpe_tokenizer

from headcount.importance import ffn_importance, load_task
from headcount.importance.evaluation import encode_task
from headcount.results import InputError
from headcount.tracing import load_model

TOKENIZER = bpe_tokenizer()
TASK, SHOTS, N = load_task("plural"), 2, 4


def gold_requests(model):
    """Return the tokens and the start of each document's right continuation."""
    encoded = encode_task(model, TASK, SHOTS, N, 0)
    pairs = zip(encoded.documents, encoded.requests, strict=True)
    requests = [of[document.gold[0]] for document, of in pairs]
    return [(list(request.ids), request.start) for request in requests]


@pytest.mark.parametrize("name", BUILDERS)
def test_the_drop_equals_full_autograd(name):
    hf = BUILDERS[name]().double()
    model = load_model(BUILDERS[name]().double(), tokenizer=TOKENIZER)
    scores = ffn_importance(model, TASK, SHOTS, N, method="gradient")
    drops = [-ffn_path_sums(hf, ids, start, 1) * (len(ids) - start) for ids, start in gold_requests(model)]
    assert torch.allclose(scores.values, torch.stack(drops).mean(0).float(), atol=1e-5, rtol=1e-4)
    assert torch.allclose(scores.variance, torch.stack(drops).var(0).float(), atol=1e-5, rtol=1e-3)
    assert scores.n == N
    assert scores.definition == "gradient, drop"


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_from_means_in_steps_and_verified(name):
    hf = BUILDERS[name]().double()
    model = load_model(BUILDERS[name]().double(), tokenizer=TOKENIZER)
    reference = TASK.reference(SHOTS)[:5]
    rows = [model.tokenizer(example.context + example.continuation)["input_ids"][:-1] for example in reference]
    _, means = ablation.means(hf, rows, [list(range(len(row))) for row in rows])
    settings = {"baseline": "mean", "steps": 2, "reference": reference}
    scores = ffn_importance(model, TASK, SHOTS, N, method="gradient", **settings)
    verified = ffn_importance(model, TASK, SHOTS, N, method="verified", share=0.4, **settings)
    estimates, drops = [], []
    for ids, start in gold_requests(model):
        r = means[:, None].expand(-1, len(ids) - 1, -1)
        estimates.append(-ffn_path_sums(hf, ids, start, 2, r) * (len(ids) - start))
        whole = log_likelihood(hf, ids, start)
        drops.append(torch.tensor([whole - without_ffn(hf, ids, start, layer, r) for layer in range(3)]))
    expected, exact = torch.stack(estimates).mean(0).float(), torch.stack(drops).mean(0)
    assert torch.allclose(scores.values, expected, atol=1e-5, rtol=1e-4)
    chosen = verified.extras["verified"] == 1
    assert chosen.sum() == 1
    assert torch.allclose(verified.values[chosen], exact[chosen], atol=1e-5, rtol=1e-4)
    assert torch.allclose(verified.values[~chosen], expected[~chosen], atol=1e-5, rtol=1e-4)
    assert verified.provenance["ablation"]["reference"]["n"] == 5


def test_wrong_settings_are_refused():
    model = load_model(BUILDERS["opt"](), tokenizer=TOKENIZER)
    with pytest.raises(InputError, match="method must be gradient, verified or oracle, not 'grad'"):
        ffn_importance(model, TASK, method="grad")
    with pytest.raises(InputError, match="share must be above 0"):
        ffn_importance(model, TASK, method="verified", share=2)
