"""Sets of heads removed beside random ones, and verdicts on heads: plain loops, and a model whose heads are known."""

import pytest
import torch
from reference.models import bpe_tokenizer, llama, opt
from support.synthetic_tasks import write_tasks

from headcount.importance import ablated, accuracy, head_importance, head_verdicts, load_task, set_effects
from headcount.importance.ablation.ablated import replacement_from
from headcount.importance.causes.head_sets import head_sets, matched_heads
from headcount.importance.evaluation import encode_examples
from headcount.results import HeadScores, InputError, SetEffects
from headcount.tracing import load_model

EXISTS = torch.ones(3, 4, dtype=torch.bool)
KINDS = {
    "a": HeadScores([[9, 8, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0.5]]),
    "b": HeadScores([[0, 9, 0, 0], [0, 0, 8, 0], [7, 6, 0, 0]]),
}


def pairs(heads):
    return [tuple(pair) for pair in heads.nonzero().tolist()]


class TestSets:
    def test_the_highest_of_each_kind_also_without_those_of_the_others(self):
        sets = {
            (chosen.kind, chosen.percent, chosen.without_others): pairs(chosen.heads)
            for chosen in head_sets(KINDS, [1, 25], EXISTS)
        }
        assert sets == {
            ("a", 1, False): [(0, 0)],  # one at least
            ("b", 1, False): [(0, 1)],
            ("a", 25, False): [(0, 0), (0, 1), (1, 2)],
            ("a", 25, True): [(0, 0)],
            ("b", 25, False): [(0, 1), (1, 2), (2, 0)],
            ("b", 25, True): [(2, 0)],
        }

    def test_heads_that_do_not_exist_or_have_no_score_are_never_in_a_set(self):
        exists = EXISTS.clone()
        exists[0] = False
        scores = {"a": HeadScores([[9, 8, 0, 0], [torch.nan, 0, 7, 0], [1, 0, 0, 0]])}
        (chosen,) = head_sets(scores, [25], exists)
        assert pairs(chosen.heads) == [(1, 2), (2, 0)]

    def test_random_sets_have_as_many_heads_in_each_layer_and_none_of_the_set(self):
        heads = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
        draws = [matched_heads(heads, EXISTS, seed) for seed in range(40)]
        for drawn in draws:
            assert drawn.sum(1).tolist() == [2, 0, 1]
            assert not (drawn & heads).any()
        assert len({tuple(pairs(drawn)) for drawn in draws}) == 3
        assert torch.equal(draws[7], matched_heads(heads, EXISTS, 7))

    def test_where_a_layer_has_too_few_others_all_of_them_are_in_it(self):
        heads = torch.tensor([[1, 1, 1, 0]]).bool()
        exists = torch.tensor([[1, 1, 1, 1]]).bool()
        drawn = matched_heads(heads, exists, 0)
        assert drawn.sum() == 3
        assert drawn[0, 3]
        assert (
            len({tuple(pairs(matched_heads(heads, exists, seed))) for seed in range(40)}) == 3
        )  # two of the set's three
        exists[0, 3] = False
        assert torch.equal(matched_heads(heads, exists, 0), heads)

    @pytest.mark.parametrize(
        ("kinds", "percents", "message"),
        [
            ({}, [2], "at least one kind"),
            ({"a": HeadScores([[1.0]])}, [2], r"\[3, 4\] heads for 'a', got \[1, 1\]"),
            (KINDS, [60], "at most 50 %, got 60"),
            (KINDS, [0], "above 0"),
        ],
    )
    def test_bad_input_is_refused(self, kinds, percents, message):
        with pytest.raises(InputError, match=message):
            head_sets(kinds, percents, EXISTS)


@pytest.fixture(scope="module", params=[opt, llama], ids=["opt", "llama"])
def model(request):
    return load_model(request.param(), tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def task():
    return load_task("plural")


def ablation(kind, model, task):
    """Return the arguments of `ablated` for a kind, as measurements on a task take them."""
    reference = None if kind == "zero" else task.reference(1)
    return {"kind": kind, "reference": replacement_from(model, kind, reference, encoding=task.encoding)}


kinds_of_ablation = pytest.mark.parametrize("kind_of_ablation", ["zero", "mean"])


@kinds_of_ablation
def test_effects_are_a_loop_over_ablated_models(model, task, tmp_path, kind_of_ablation):
    kinds = {name: HeadScores(scores.values) for name, scores in KINDS.items()}
    options = ablation(kind_of_ablation, model, task)
    effects = set_effects(model, task, kinds, [25], random_seeds=(0, 1, 2), kind=kind_of_ablation, shots=1, limit=6)
    effects.save(tmp_path / "effects.safetensors")
    effects = SetEffects.load(tmp_path / "effects.safetensors")
    whole = accuracy(model, task, 1, 6)
    assert torch.equal(effects.whole_gold_log_p, whole.gold_log_p)
    frame = effects.to_frame().set_index(["kind", "without_others", "measure"])
    for number, (kind, without) in enumerate(zip(effects.kinds, effects.without_others, strict=True)):
        heads = effects.heads[number].bool()
        draws = [heads, *(matched_heads(heads, EXISTS, seed) for seed in (0, 1, 2))]
        answers = []
        for drawn in draws:
            with ablated(model, heads=drawn, **options):
                answers.append(accuracy(model, task, 1, 6))
        row = frame.loc[kind, without, "log_p"]
        falls = whole.gold_log_p - answers[0].gold_log_p
        assert row["drop"] == pytest.approx(float(falls.mean()), abs=1e-5)
        assert row["drop_stderr"] == pytest.approx(float(falls.std() / 6**0.5), abs=1e-5)
        random = torch.stack([answer.gold_log_p for answer in answers[1:]])
        beyond = random.mean(0) - answers[0].gold_log_p
        assert row["beyond_random"] == pytest.approx(float(beyond.mean()), abs=1e-5)
        assert row["beyond_random_stderr"] == pytest.approx(float(beyond.std() / 6**0.5), abs=1e-5)
        assert row["random"] == pytest.approx(float(random.mean()), abs=1e-5)
        assert row["random_spread"] == pytest.approx(float(random.mean(1).std()), abs=1e-5)
        assert frame.loc[kind, without, "accuracy"]["value"] == pytest.approx(answers[0].value)
        assert frame.loc[kind, without, "exact_match"]["value"] == pytest.approx(answers[0].exact_match[0])


@kinds_of_ablation
def test_the_numbers_behind_a_verdict_are_plain_log_likelihoods(model, task, kind_of_ablation):
    kinds = {name: HeadScores(scores.values) for name, scores in KINDS.items()}
    options = ablation(kind_of_ablation, model, task)
    verdicts = head_verdicts(model, task, kinds, 25, kind=kind_of_ablation, shots=1, limit=4)
    table = verdicts.to_frame().set_index(["kind", "layer", "head"])
    sets = {chosen.kind: chosen.heads for chosen in head_sets(kinds, [25], EXISTS) if not chosen.without_others}
    named = torch.stack(list(sets.values())).any(0)
    assert len(table) == 6

    def log_p(heads):
        """Return the log-probability of each document's right continuation without some heads."""
        values = []
        for document in task.documents(1, 4):
            (request,) = encode_examples(model, [document.requests[document.gold[0]]], task.encoding)
            with ablated(model, heads=heads, **options):
                logits = model(torch.tensor([request.ids[:-1]]))[0].double().log_softmax(-1)
            places = range(request.start, len(request.ids))
            values.append(sum(logits[place - 1, request.ids[place]].item() for place in places))
        return torch.tensor(values)

    whole = log_p([])
    for (kind, layer, head), row in table.iterrows():
        alone = whole - log_p([(layer, head)])
        assert row["alone"] == pytest.approx(float(alone.mean()), abs=1e-4)
        others = [(layer, other) for other in range(4) if other != head and not named[layer, other]]
        matched = torch.stack([whole - log_p([other]) for other in others]).mean(0)
        assert row["beyond"] == pytest.approx(float((alone - matched).mean()), abs=1e-4)
        rest = [pair for pair in pairs(sets[kind]) if pair != (layer, head)]
        within = log_p(rest) - log_p(pairs(sets[kind]))
        assert row["within"] == pytest.approx(float(within.mean()), abs=1e-4)


def test_the_known_heads_of_the_trained_model_are_needed_and_a_head_that_does_nothing_is_not(tmp_path):
    model = load_model("tiny-opt")
    task = load_task("successor", data=write_tasks(tmp_path, scored=60))
    known, rest = [(0, 0), (1, 2), (1, 3)], [(0, 1), (0, 2), (1, 0)]
    scores = {}
    for kind, heads in (("known", known), ("rest", rest)):
        values = torch.zeros(2, 4)
        values[tuple(zip(*heads, strict=True))] = 1.0
        scores[kind] = HeadScores(values)
    table = head_verdicts(model, task, scores, 38, shots=0, limit=60).to_frame().set_index(["layer", "head"])
    assert table.loc[(0, 0), "verdict"] == "primary"
    assert {table.loc[pair, "verdict"] for pair in known[1:]} <= {"primary", "secondary"}
    assert {table.loc[pair, "verdict"] for pair in rest} <= {"correlate", "undecided", "interferer"}
    effects = set_effects(model, task, scores, [38], random_seeds=(0, 1), shots=0, limit=60)
    lost, beyond = effects.drop("log_p").mean, effects.beyond_random("log_p").mean
    assert lost[0] > 10 * abs(lost[1])
    assert beyond[0] > 1 > beyond[1]  # random heads of these layers are the known ones


def test_bad_seeds_are_refused(model, task):
    scores = {"a": head_importance(model, task.examples(1, 4))}
    with pytest.raises(InputError, match="two whole numbers or more, each once"):
        set_effects(model, task, scores, random_seeds=[1, 1])
