"""Pruning equals a plain loop over masked models, step by step."""

from math import floor

import pytest
import torch
from reference.models import bpe_tokenizer, llama, opt

from headcount.importance import accuracy, ffn_importance, head_importance, load_task, prune, prune_grid
from headcount.results import HeadScores, InputError, LayerScores, PruningCurve, PruningGrid
from headcount.tracing import load_model, masked, removed_parameters

LIMIT = 6


@pytest.fixture(scope="module", params=[opt, llama], ids=["opt", "llama"])
def model(request):
    return load_model(request.param(), tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def task():
    return load_task("plural")


def scores(model, seed=0):
    sizes = model.sizes
    random = torch.Generator().manual_seed(seed)
    return (
        HeadScores(torch.rand(sizes.n_layers, sizes.n_heads, generator=random)),
        LayerScores(torch.rand(sizes.n_layers, generator=random)),
    )


def flat(mask_shape, order, count):
    mask = torch.zeros(mask_shape, dtype=torch.bool)
    mask.view(-1)[order[:count]] = True
    return mask


@pytest.mark.parametrize("component", ["heads", "ffns"])
def test_a_curve_is_a_loop_over_masked_models(model, task, component):
    order = scores(model)[component == "ffns"]
    curve = prune(model, task, order, component, (0, 25, 50, 90, 100), limit=LIMIT, shots=1)
    for step, percent in enumerate((0, 25, 50, 90, 100)):
        count = floor(percent * order.values.numel() / 100)
        removed = {component: flat(order.shape, order.ranking(), count)}
        with masked(model, **removed):
            expected = accuracy(model, task, 1, LIMIT)
        assert curve.removed[step] == count
        assert curve.parameters[step] == removed_parameters(model, **removed).removed
        assert torch.equal(curve.correct[0, step], expected.correct)
        assert torch.equal(curve.greedy[0, step], expected.greedy)
        assert curve.to_frame()["exact_match"][step] == pytest.approx(expected.exact_match[0])
        torch.testing.assert_close(curve.gold_log_p[0, step], expected.gold_log_p, atol=1e-4, rtol=1e-5)
        assert float(curve.value[step]) == pytest.approx(expected.value)
        assert float(curve.stderr[step]) == pytest.approx(expected.stderr)
        drops = curve.correct[0, 0] - expected.correct
        assert float(curve.drop[step]) == pytest.approx(float(drops.mean()))
        assert float(curve.drop_stderr[step]) == pytest.approx(float(drops.std() / LIMIT**0.5))
    assert curve.chance == expected.chance


def test_random_orders_differ_by_seed_and_repeat(model, task):
    percents = (50,)
    curve = prune(model, task, percents=percents, strategy="random", seeds=(0, 1), limit=LIMIT)
    again = prune(model, task, percents=percents, strategy="random", seeds=(1,), limit=LIMIT)
    assert not torch.equal(curve.order[0], curve.order[1])
    assert torch.equal(curve.gold_log_p[1], again.gold_log_p[0])
    assert curve.order[0].sort().values.tolist() == list(range(model.sizes.n_layers * model.sizes.n_heads))
    assert curve.spread.shape == (2,)
    assert float(curve.spread[0]) == 0


@pytest.mark.parametrize("component", ["heads", "ffns"])
def test_recomputed_orders_rank_what_is_left_on_the_pruned_model(model, task, component):
    def importance():
        if component == "ffns":
            return ffn_importance(model, task, 0, LIMIT)
        return head_importance(model, task.examples(0, 100))

    curve = prune(model, task, component=component, percents=(34, 67), strategy="recomputed", limit=LIMIT)
    shape = importance().shape
    order = importance().ranking().tolist()
    for count in (0, *curve.removed[1:-1]):
        with masked(model, **{component: flat(shape, torch.tensor(order), count)}):
            left = importance().ranking().tolist()
        order = order[:count] + [part for part in left if part not in order[:count]]
    assert curve.order[0].tolist() == order


def test_a_grid_removes_both(model, task):
    heads, ffns = scores(model)
    grid = prune_grid(model, task, heads, ffns, head_percents=(0, 50), ffn_percents=(0, 70), limit=LIMIT)
    removed = (flat(heads.shape, heads.ranking(), heads.values.numel() // 2), flat(ffns.shape, ffns.ranking(), 2))
    with masked(model, *removed):
        expected = accuracy(model, task, 0, LIMIT)
    torch.testing.assert_close(grid.gold_log_p[1, 1], expected.gold_log_p, atol=1e-4, rtol=1e-5)
    assert grid.parameters[1][1] == removed_parameters(model, *removed).removed
    assert grid.parameters[0][0] == 0
    assert grid.value.shape == (2, 2)
    assert len(grid.to_frame()) == 4


def test_files_give_back_what_was_saved(model, task, tmp_path):
    heads, ffns = scores(model)
    curve = prune(model, task, heads, percents=(50,), limit=LIMIT)
    grid = prune_grid(model, task, heads, ffns, head_percents=(50,), ffn_percents=(50,), limit=LIMIT)
    for result, kind in ((curve, PruningCurve), (grid, PruningGrid)):
        result.save(tmp_path / "file.safetensors")
        loaded = kind.load(tmp_path / "file.safetensors")
        assert torch.equal(loaded.correct, result.correct)
        assert loaded.parameters == result.parameters
        assert loaded.provenance == result.provenance
        assert loaded.to_frame().equals(result.to_frame())


def test_progress_counts_every_document_of_every_step(model, task):
    counts = []
    prune(model, task, scores(model)[0], percents=(0, 1, 50), limit=LIMIT, progress=counts.append)
    assert sum(counts) == 3 * LIMIT  # 1 % of so few heads is none: measured once, counted twice


def test_weights_cut_in_each_pass_for_lack_of_memory_give_the_same_curve(model, task, monkeypatch):
    heads, _ = scores(model)
    options = {"percents": (30, 60), "limit": LIMIT}
    plain = prune(model, task, heads, **options)
    monkeypatch.setattr("headcount.importance.pruning.pruned_answers.cut_fits", lambda *_: False)
    assert torch.equal(prune(model, task, heads, **options).gold_log_p, plain.gold_log_p)


def test_bad_input_is_refused(model, task):
    heads, ffns = scores(model)
    for arguments, message in (
        ({"order": heads, "component": "layers"}, "component must be one of heads, ffns, kv_groups, experts"),
        ({"order": heads, "strategy": "greedy"}, "strategy must be one of static, recomputed, random"),
        ({}, "'static' needs order="),
        ({"order": heads, "strategy": "random"}, "leave out order="),
        ({"order": heads, "percents": (0, 120)}, "percents from 0 to 100"),
        ({"order": heads, "percents": "50"}, "percents as a list of numbers, got the text '50'"),
        ({"strategy": "random", "seeds": (0, 0, 1)}, r"seeds must be whole numbers .*, each once, not \(0, 0, 1\)"),
        ({"strategy": "random", "seeds": ()}, "seeds must be"),
        ({"strategy": "random", "seeds": (0.5,)}, "expected a seed of 0 or more, got 0.5"),
        ({"order": ffns}, "expected HeadScores of shape"),
        ({"order": HeadScores(torch.zeros(1, 2))}, "got HeadScores of shape \\[1, 2\\]"),
        ({"order": heads, "component": "ffns"}, "expected LayerScores"),
    ):
        with pytest.raises(InputError, match=message):
            prune(model, task, limit=LIMIT, **arguments)


def test_results_have_a_line_of_text(model, task):
    heads, ffns = scores(model)
    curve = prune(model, task, heads, percents=(50,), limit=LIMIT)
    grid = prune_grid(model, task, heads, ffns, head_percents=(50,), ffn_percents=(50,), limit=LIMIT)
    assert repr(curve).startswith("PruningCurve(plural, heads, static: accuracy 0.")
    assert repr(grid).endswith("without 50 % of FFNs and 50 % of heads)")
    assert repr(accuracy(model, task, 1, LIMIT)).startswith("Accuracy(plural, 1 shots, 0.")
