"""Attribution: the drop estimated to first order, from baselines, in steps, and verified by ablation."""

import functools

import pytest
import torch
from reference import ablation
from reference.importance import ablated_log_likelihood, log_likelihood, path_sums
from reference.models import BUILDERS, bpe_tokenizer

from headcount.importance import Example, head_importance, interaction
from headcount.importance.ablation.reference import resampled
from headcount.importance.likelihoods.encoding import encode
from headcount.results import InputError
from headcount.tracing import load_model

TOKENIZER = bpe_tokenizer()
EXAMPLES = [
    Example("the cat sat on the", " mat and", "the mat sat on the"),
    Example("a b c a b", " c", "b a c a b"),
    Example("one two three four five six seven", " eight nine ten", "one two four three five six seven"),
]
REQUESTS = [encode(TOKENIZER, example.context, example.continuation, longest=256) for example in EXAMPLES]
ROWS = [request.ids[:-1] for request in REQUESTS]
PREDICTED = torch.tensor([len(request.ids) - request.start for request in REQUESTS])[:, None, None]
BASELINES = ("zero", "mean", "resample", "patch")
two_models = pytest.mark.parametrize("name", ["llama", "gpt_neox"])


@functools.cache
def replacements(name, baseline):
    """Return r of each example [layer, pos, head·d_head], from one plain run of each row; None for zero."""
    hf = BUILDERS[name]().double()
    if baseline == "zero":
        return [None] * len(ROWS)
    if baseline == "mean":
        means, _ = ablation.means(hf, [list(row) for row in ROWS], [list(range(len(row))) for row in ROWS])
        return [means.flatten(1)[:, None].expand(-1, len(row), -1) for row in ROWS]
    others = [encode(TOKENIZER, e.counterfactual, e.continuation, longest=256).ids[:-1] for e in EXAMPLES]
    rows = resampled(ROWS, ROWS, 3) if baseline == "resample" else others
    return [torch.stack(ablation.activations(hf, list(row))[0]) for row in rows]


@functools.cache
def sums(name, baseline, steps):
    """Return the plain loop's absolute and signed sums, [example, layer, head] each."""
    pairs = [
        path_sums(BUILDERS[name]().double(), list(request.ids), request.start, steps, r)
        for request, r in zip(REQUESTS, replacements(name, baseline), strict=True)
    ]
    return tuple(torch.stack(kind) for kind in zip(*pairs, strict=True))


@functools.cache
def drop(name, baseline, heads):
    """Return the drop of each example's log-likelihood without some heads."""
    hf = BUILDERS[name]().double()
    pairs = [(list(request.ids), request.start) for request in REQUESTS]
    without = [
        ablated_log_likelihood(hf, *pair, list(heads), r)
        for pair, r in zip(pairs, replacements(name, baseline), strict=True)
    ]
    return torch.tensor([log_likelihood(hf, *pair) - value for pair, value in zip(pairs, without, strict=True)])


def expected(name, baseline, steps, reduction):
    """Reduce the plain loop's sums to scores."""
    absolute, signed = sums(name, baseline, steps)
    if reduction == "token":
        weight = torch.full((absolute.shape[1], 1), float(sum(map(len, ROWS))))
        weight[-1] = PREDICTED.sum()
        return absolute.sum(0) / weight
    return {"example": signed.abs(), "signed": signed, "drop": -signed * PREDICTED}[reduction].mean(0)


@functools.cache
def model(name):
    return load_model(BUILDERS[name]().double(), tokenizer=TOKENIZER)


def importance(name, **settings):
    return head_importance(model(name), EXAMPLES, seed=3, **settings)


@two_models
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("steps", [1, 3])
def test_estimates_equal_a_loop_over_layers_and_points(name, baseline, steps):
    for reduction in ("drop", "token", "example", "signed") if baseline == "mean" else ("drop",):
        scores = importance(name, reduction=reduction, baseline=baseline, steps=steps)
        assert torch.allclose(scores.values, expected(name, baseline, steps, reduction), atol=1e-5)
    if reduction == "drop":
        _, signed = sums(name, baseline, steps)
        assert torch.allclose(scores.extras["absolute_drop"], (signed * PREDICTED).abs().mean(0), atol=1e-5)


@two_models
@pytest.mark.parametrize("baseline", BASELINES)
def test_the_oracle_equals_ablation_by_hand(name, baseline):
    scores = importance(name, method="oracle", kind=baseline)
    heads = [(layer, head) for layer in range(3) for head in range(4)]
    drops = torch.stack([drop(name, baseline, (place,)) for place in heads]).view(3, 4, -1)
    assert torch.allclose(scores.values, drops.mean(-1), atol=1e-5)
    assert torch.allclose(scores.extras["absolute_drop"], drops.abs().mean(-1), atol=1e-5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_signed_is_the_slope_of_the_loss_as_ablation_is_undone(baseline):
    """Of z = r + α(z - r) at α = 1, by central differences; `drop` is its negative, of the summed loss."""
    hf, step, layer, head = BUILDERS["gpt_neox"]().double(), 1e-4, 1, 2
    signed = importance("gpt_neox", reduction="signed", baseline=baseline)
    slopes = []
    for request, r in zip(REQUESTS, replacements("gpt_neox", baseline), strict=True):
        ids, (z, _) = list(request.ids), ablation.activations(hf, list(request.ids[:-1]))
        z = torch.stack(z)
        start = torch.zeros_like(z) if r is None else r.double()
        below, above = (
            ablated_log_likelihood(hf, ids, request.start, [(layer, head)], start + alpha * (z - start))
            for alpha in (1 - step, 1 + step)
        )
        slopes.append(-(above - below) / (2 * step) / (len(ids) - request.start))
    assert float(signed.values[layer, head]) == pytest.approx(sum(slopes) / len(slopes), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_many_steps_add_up_to_the_ablation_of_a_whole_layer(baseline):
    scores = importance("llama", reduction="drop", baseline=baseline, steps=60)
    for layer in range(3):
        whole = drop("llama", baseline, tuple((layer, head) for head in range(4))).mean()
        assert float(scores.values[layer].sum()) == pytest.approx(float(whole), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("baseline", ["zero", "patch"])
def test_verified_ablates_the_highest_and_estimates_the_rest(baseline):
    scores = importance("llama", method="verified", share=0.4, baseline=baseline)
    sizes = expected("llama", baseline, 1, "example").flatten()
    highest = set(sizes.argsort(descending=True)[:4].tolist())  # floor(0.4 · 12)
    assert set(scores.extras["verified"].flatten().nonzero().flatten().tolist()) == highest
    estimates = expected("llama", baseline, 1, "drop")
    for number in range(12):
        layer, head = divmod(number, 4)
        value = drop("llama", baseline, ((layer, head),)).mean() if number in highest else estimates[layer, head]
        assert float(scores.values[layer, head]) == pytest.approx(float(value), abs=1e-5)
    assert scores.provenance["share"] == 0.4
    assert scores.folds.shape == (3, 3, 4)
    assert torch.isfinite(scores.variance).all()


@pytest.mark.parametrize("kind", ["zero", "resample"])
def test_interactions_equal_ablation_by_hand(kind):
    pairs = [((0, 1), (2, 3)), ((1, 0), (1, 2)), ((2, 0), (0, 1, 0.7))]
    table = interaction(model("llama"), EXAMPLES, pairs, kind, seed=3)
    for row, (a, b) in zip(table.records(), pairs, strict=True):
        heads = (a[:2], b[:2])
        both, first, second = (drop("llama", kind, members) for members in (heads, heads[:1], heads[1:]))
        more = both - first - second
        numbers = [both.mean(), first.mean(), second.mean(), more.mean(), more.std() / len(more) ** 0.5]
        names = ("drop_ab", "drop_a", "drop_b", "interaction", "stderr")
        assert [row[name] for name in names] == pytest.approx([float(number) for number in numbers], abs=2e-5)
    assert (row["a"], row["b"], row["n"]) == ("L2H0", "L0H1", 3)
    assert table.provenance.get("ablation", {"kind": "zero"})["kind"] == kind


@pytest.mark.parametrize("pair", [((0, 1), (0, 1)), ((0, 1),), ((0, 1), (3, 0)), (0, 1), ((0, 1), (1, 4))])
def test_pairs_of_other_things_than_two_heads_are_refused(pair):
    with pytest.raises(InputError, match="expected a pair of two different heads among 3 layers of 4"):
        interaction(model("llama"), EXAMPLES, [pair])


def test_reference_examples_are_recorded():
    scores = importance("llama", reduction="drop", baseline="mean", reference=EXAMPLES[:2], steps=2)
    assert scores.provenance["steps"] == 2
    record = scores.provenance["ablation"]
    assert (record["kind"], record["reference"]["n"], record["reference"]["also_measured"]) == ("mean", 2, 2)
    assert scores.definition == "gradient, drop, mean ablation, 2 steps"
    others = importance("llama", reduction="drop", baseline="mean", steps=2)
    assert not torch.allclose(scores.values, others.values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "median"}, "baseline: expected one of zero, mean, resample, patch, got 'median'"),
        ({"baseline": "mean", "kind": "patch"}, "name one thing"),
        ({"steps": 0}, "steps: expected a whole number of at least 1"),
        ({"steps": 2, "method": "oracle"}, "steps=2 are for gradients"),
        ({"share": 0, "method": "verified"}, "share must be above 0"),
        ({"baseline": "mean", "reference": []}, "needs reference="),
        ({"reference": EXAMPLES}, "needs no reference"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        importance("llama", **settings)
