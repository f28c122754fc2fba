"""Pruning by means and by other prompts' values equals a loop over ablated models."""

import pytest
import torch
from reference.models import bpe_tokenizer, llama, opt

from headcount.importance import ablated, accuracy, ffn_importance, load_task, prune, prune_grid
from headcount.importance.ablation.ablated import replacement_from
from headcount.results import HeadScores, InputError, LayerScores
from headcount.tracing import load_model

LIMIT, SHOTS = 3, 2
TASK = load_task("plural")


@pytest.fixture(scope="module", params=[opt, llama], ids=["opt", "llama"])
def model(request):
    return load_model(request.param(), tokenizer=bpe_tokenizer())


def orders(seed=0):
    random = torch.Generator().manual_seed(seed)
    return HeadScores(torch.rand(3, 4, generator=random)), LayerScores(torch.rand(3, generator=random))


def first(order, count):
    mask = torch.zeros(order.shape, dtype=torch.bool)
    mask.view(-1)[order.ranking()[:count]] = True
    return mask


def reference_of(kind):
    if kind == "patch":
        return [request for document in TASK.documents(SHOTS, LIMIT) for request in document.requests]
    return TASK.reference(SHOTS, 8)


@pytest.mark.parametrize("kind", ["mean", "resample", "patch"])
def test_curves_and_grids_are_loops_over_ablated_models(model, kind):
    heads, ffns = orders()
    options = {"kind": kind, "reference": reference_of(kind), "shots": SHOTS, "limit": LIMIT}
    curve = prune(model, TASK, heads, "heads", (50, 100), **options)
    grid = prune_grid(model, TASK, heads, ffns, head_percents=(50,), ffn_percents=(70,), **options)
    cells = {
        (6, 0): (curve.gold_log_p[0, 1], curve.correct[0, 1]),
        (12, 0): (curve.gold_log_p[0, 2], curve.correct[0, 2]),
        (0, 2): (grid.gold_log_p[1, 0], grid.correct[1, 0]),
        (6, 2): (grid.gold_log_p[1, 1], grid.correct[1, 1]),
    }
    for (n_heads, n_ffns), (log_p, correct) in cells.items():
        parts = {"heads": first(heads, n_heads), "ffns": first(ffns, n_ffns)}
        with ablated(model, **parts, kind=kind, reference=options["reference"]):
            expected = accuracy(model, TASK, SHOTS, LIMIT)
        torch.testing.assert_close(log_p, expected.gold_log_p, atol=1e-4, rtol=1e-5)
        assert torch.equal(correct, expected.correct)
    whole = accuracy(model, TASK, SHOTS, LIMIT)
    torch.testing.assert_close(curve.gold_log_p[0, 0], whole.gold_log_p, atol=1e-4, rtol=1e-5)
    assert curve.provenance["ablation"]["kind"] == grid.provenance["ablation"]["kind"] == kind
    assert "ablation" not in prune(model, TASK, heads, "heads", (50,), shots=SHOTS, limit=LIMIT).provenance


def test_networks_are_ranked_again_by_the_same_kind(model):
    whole = replacement_from(model, "mean", TASK.reference(SHOTS, 8))
    options = {"kind": "mean", "reference": whole}
    curve = prune(model, TASK, None, "ffns", (34, 67), "recomputed", shots=SHOTS, limit=LIMIT, **options)
    first_scores = ffn_importance(model, TASK, SHOTS, LIMIT, **options)
    removed = int(first_scores.ranking()[0])
    assert int(curve.order[0, 0]) == removed
    with ablated(model, ffns=[removed], **options):
        again = ffn_importance(model, TASK, SHOTS, LIMIT, **options)
    ranking = [layer for layer in again.ranking().tolist() if layer != removed]
    assert curve.order[0].tolist() == [removed, *ranking]


def test_the_default_reference_is_apart_from_the_documents(model):
    curve = prune(model, TASK, orders()[0], "heads", (50,), shots=1, limit=LIMIT, kind="mean")
    assert curve.provenance["ablation"]["reference"]["n"] == len(TASK.reference(1))
    assert curve.provenance["ablation"]["reference"]["also_measured"] == 0
    patched = prune(model, TASK, orders()[0], "heads", (50,), shots=SHOTS, limit=LIMIT, kind="patch")
    assert patched.provenance["ablation"]["reference"]["n"] == 4 * LIMIT


def test_experts_have_no_means(model):
    with pytest.raises(InputError, match="experts are removed by zeros"):
        prune(model, TASK, None, "experts", (50,), "random", kind="mean", limit=LIMIT)
