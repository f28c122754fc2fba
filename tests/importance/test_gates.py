"""Gates on heads: equal to a plain loop; right on models whose heads are known; a ranking to prune by; refusals."""

import random

import pytest
import torch
from reference import gates as reference
from reference import hand_built
from reference.models import BUILDERS, bpe_tokenizer, word_tokenizer
from support.synthetic_tasks import single_token_words

from headcount.importance import Example, causal_gates, load_task, prune
from headcount.importance.ablation.reference import reference_means
from headcount.importance.attribution.gate_passes import RATE, fit_gates
from headcount.importance.evaluation import encode_examples
from headcount.importance.gates import draw_batches, undecided
from headcount.results import CausalGates, HeadScores, InputError
from headcount.tracing import load_model, masked

EXAMPLES = [
    Example("the cat sat on the", " mat and"),
    Example("a b c a b", " c"),
    Example("one two three four five six seven", " eight nine ten"),
    Example("yes", " no"),
]


@pytest.fixture(scope="module")
def models():
    return {name: load_model(BUILDERS[name](), tokenizer=bpe_tokenizer()) for name in ("opt", "llama")}


@pytest.mark.parametrize("name", ["opt", "llama"])
@pytest.mark.parametrize(("ablation", "penalty"), [("zero", 0.3), ("mean", -0.3)])
def test_a_fit_equals_torchs_adam_one_example_at_a_time(models, name, ablation, penalty):
    model, steps = models[name], 4
    requests = encode_examples(model, EXAMPLES, "joint")
    means = reference_means(model, requests).heads if ablation == "mean" else None
    batches = draw_batches(requests, steps, 3, torch.Generator().manual_seed(0))
    start = torch.linspace(-1, 3, 12).view(3, 4)
    plain = [[(list(request.ids), request.start) for request in batch] for batch in batches]
    expected = reference.fit(BUILDERS[name](), plain, start, means, penalty, RATE)
    logits, losses = fit_gates(model, batches, start, means, penalty, 1.0)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert (logits - start).abs().min() > 0.01
    assert len(losses) == steps


def test_the_needed_head_facilitates_and_the_harmful_one_interferes():
    model = load_model(hand_built.needed_and_harmful_model(), tokenizer=word_tokenizer())
    examples = [Example(f"w{number} ->", f" w{number}") for number in range(hand_built.WORDS)]
    gates = causal_gates(model, examples, steps=50, ablation="zero")
    others = torch.ones(2, 4, dtype=torch.bool)
    others[1, 0] = others[0, 2] = False
    for seed in ("seed_0", "seed_1"):
        facilitating, irrelevant, interfering = (
            getattr(gates, role).extras[seed] for role in ("facilitating", "irrelevant", "interfering")
        )
        assert facilitating[1, 0] > 0.9
        assert interfering[0, 2] > 0.9
        assert irrelevant[others].min() > 0.8
        assert facilitating[others].max() < 0.2
    assert gates.undecided == []
    assert gates.agreement["facilitating"] > 0.5


def test_the_heads_of_tiny_opt_stay_open_at_a_price():
    tiny_opt, pick = load_model("tiny-opt"), random.Random(0)
    words = single_token_words(tiny_opt.tokenizer)
    rows = ["".join(pick.sample(words, 12)) for _ in range(16)]
    gates = causal_gates(tiny_opt, [Example(row, row) for row in rows], steps=50, batch_size=4)
    needed = torch.zeros(2, 4, dtype=torch.bool)
    needed[[0, 1, 1], [0, 2, 3]] = True
    for seed in ("seed_0", "seed_1"):
        costly = gates.facilitating.extras[seed]
        assert costly[needed].min() > 0.25
        assert costly[~needed].max() < 0.2


def test_maps_are_shares_of_one_another(models, tmp_path):
    gates = causal_gates(models["opt"], EXAMPLES, seeds=(3,), steps=2)
    costly, irrelevant, interfering = (
        getattr(gates, role).values for role in ("facilitating", "irrelevant", "interfering")
    )
    assert torch.allclose(irrelevant, (1 - interfering) * (1 - costly))
    assert gates.facilitating.variance is None
    assert gates.agreement == {"facilitating": None, "irrelevant": None, "interfering": None}
    gates.save(tmp_path)
    assert CausalGates.load(tmp_path).undecided == gates.undecided


def test_seeds_are_repeatable_and_apart(models):
    first, again, other = (
        causal_gates(models["opt"], EXAMPLES, seeds, 3, batch_size=2) for seeds in ((0,), (0, 1), (1,))
    )
    assert torch.equal(first.facilitating.values, again.facilitating.extras["seed_0"])
    assert torch.equal(other.facilitating.values, again.facilitating.extras["seed_1"])
    assert not torch.equal(first.facilitating.values, other.facilitating.values)
    assert again.facilitating.variance.sum() > 0
    assert set(again.agreement) == {"facilitating", "irrelevant", "interfering"}
    assert all(-1 <= rho <= 1 for rho in again.agreement.values())


def test_every_example_is_drawn_before_any_is_drawn_again():
    batches = draw_batches(list(range(10)), 7, 4, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [4] * 7
    for first, second in (batches[:2], batches[2:4]):
        assert len({*first, *second}) == 8
    assert [sorted(batch) for batch in draw_batches([1, 2], 3, 4, torch.Generator())] == [[1, 2]] * 3


def test_heads_of_no_certain_role_are_named():
    sure, unsure = torch.tensor([0.9, 0.1, 0.0]), torch.tensor([0.4, 0.3, 0.3])
    first = torch.stack([sure, sure, unsure], dim=1)[:, None]
    second = torch.stack([sure, sure.flip(0), unsure], dim=1)[:, None]
    assert undecided(torch.stack([first, second])).tolist() == [[False, True, True]]


def test_they_are_a_ranking_to_prune_by(models):
    gates = causal_gates(models["opt"], EXAMPLES, seeds=(0,), steps=2)
    curve = prune(models["opt"], load_task("plural"), gates.facilitating, percents=(50,), limit=4)
    assert curve.removed == (0, 6)


def test_removed_heads_stay_removed_and_weights_stay_as_they_are(models):
    model = models["llama"]
    before = model.fingerprint()
    with masked(model, heads=[(1, 2)]):
        gates = causal_gates(model, EXAMPLES, seeds=(0,), steps=2, ablation="zero")
    assert gates.facilitating.provenance["removed_heads"] == [[1, 2]]
    assert model.fingerprint() == before
    assert all(parameter.grad is None for parameter in model.hf.parameters())


def test_half_precision_moves_gates_alike(models):
    half = load_model(BUILDERS["opt"]().half(), tokenizer=bpe_tokenizer())
    exact, rounded = (
        causal_gates(model, EXAMPLES, seeds=(0,), steps=10, strength=0.05).facilitating.values
        for model in (models["opt"], half)
    )
    assert torch.corrcoef(torch.stack([exact.flatten(), rounded.flatten()]))[0, 1] > 0.98


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": []}, "at least one example"),
        ({"seeds": ()}, "seeds: expected one or more, each once"),
        ({"seeds": (0, 0)}, "seeds: expected one or more, each once"),
        ({"steps": 0}, "steps: expected"),
        ({"strength": 0.0}, "a price above 0 nats"),
        ({"strength": float("nan")}, "a price above 0 nats"),
        ({"ablation": "resample"}, "ablation: expected one of mean, zero"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"batch_size": 4}, "seeds differ in the order of the examples alone"),
    ],
)
def test_bad_input_is_refused(models, options, message):
    with pytest.raises(InputError, match=message):
        causal_gates(models["opt"], **{"examples": EXAMPLES} | options)


def test_a_streamed_model_is_refused(tmp_path):
    BUILDERS["opt"]().save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="would read all weights twice, 600 times for a seed"):
        causal_gates(load_model(tmp_path, stream=True, memory=64 << 30), EXAMPLES)


def test_ranks_of_gates_are_those_of_any_scores(models):
    scores = causal_gates(models["opt"], EXAMPLES, seeds=(0,), steps=2).facilitating
    assert isinstance(scores, HeadScores)
    assert sorted(scores.ranking().tolist()) == list(range(12))
