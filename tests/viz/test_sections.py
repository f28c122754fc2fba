"""The numbers behind the report's sentences."""

from dataclasses import replace
from math import nan

import pytest
import torch
from reference.attention_on_text import kinds_of_attention

from headcount.results import Accuracy, HeadAtlas, HeadScores, LayerScores, Patterns, Run, Setting
from headcount.viz.contents import Contents, read_contents
from headcount.viz.html_report.overview.answers import five_answers, how_sure, which_heads
from headcount.viz.html_report.overview.attention_on_text import labels, text_attention
from headcount.viz.html_report.overview.evidence import furthest_above_chance, opening_importance
from headcount.viz.html_report.overview.first_screen import FirstScreen
from headcount.viz.html_report.overview.head_scatter import axis, head_scatter
from headcount.viz.html_report.overview.induction_heads import induction_heads
from headcount.viz.html_report.overview.parts import head_labels
from headcount.viz.html_report.sections import importance
from headcount.viz.html_report.sections.atlas import atlas_of
from headcount.viz.ranks import ranks


def accuracy(value: float, stderr: float, chance: float, majority: float) -> Accuracy:
    return Accuracy(value, stderr, 2, chance, majority, [1, 0], [0, 0], [0, 0], [0, 0])


def contents(maps: dict | None = None, heads: dict | None = None, accuracies: dict | None = None) -> Contents:
    return Contents(maps or {}, {}, None, heads or {}, {}, accuracies or {}, {})


def test_a_mean_names_those_of_its_tasks_that_are_at_chance() -> None:
    good, bad = accuracy(0.9, 0.01, 0.5, nan), accuracy(0.5, 0.01, 0.5, nan)
    known = contents(accuracies={Setting("a", 0): good, Setting("b", 0): bad, Setting("b", 5): good})
    mean = LayerScores([1], provenance={"tasks": ["a", {"name": "b", "n": 2}, "unknown", 7, {}, {"name": []}]})
    assert importance.tasks_at_chance(known, Setting("mean", 0), mean) == ["b"]
    assert importance.tasks_at_chance(known, Setting("mean", 5), mean) == []
    assert importance.tasks_at_chance(known, Setting("b", 0), LayerScores([1])) == ["b"]
    assert importance.tasks_at_chance(known, Setting("a", 0), mean) == []
    assert importance.tasks_at_chance(known, Setting("mean", 0), LayerScores([1], provenance={"tasks": "b"})) == []


def test_overlap_counts_induction_heads_among_the_most_important() -> None:
    values = torch.linspace(0, 1, 40).view(8, 5)
    maps = {"prefix_matching": HeadScores(values, measure="prefix_matching")}
    heads = {Setting("a", 0): HeadScores(-values), Setting("mean", 5): HeadScores(values.roll(-4))}
    screen = FirstScreen(contents(maps, heads))
    assert len(screen.induction.heads) == 20
    assert screen.importance[0] == Setting("mean", 5)
    assert screen.overlap == (10, 10, 5.0)
    assert screen.sentence.startswith("L7H4 is the strongest of 20 induction heads among 40 heads, and 10 of the 10")
    assert FirstScreen(contents(maps, {Setting("a", 0): heads[Setting("a", 0)]})).overlap[0] == 0
    assert FirstScreen(contents(maps)).overlap is None
    assert FirstScreen(contents({}, heads)).overlap is None


def test_the_mean_with_most_tasks_above_chance_opens() -> None:
    good, bad = accuracy(0.9, 0.01, 0.5, nan), accuracy(0.5, 0.01, 0.5, nan)
    tasks = {"tasks": ["a", "b"]}
    heads = {Setting("mean", shots): HeadScores([[1.0]], provenance=tasks) for shots in (0, 5)}
    measured = {Setting("a", 0): good, Setting("b", 0): good, Setting("a", 5): good, Setting("b", 5): bad}
    known = contents(heads=heads, accuracies=measured)
    assert opening_importance(known, known.heads) == Setting("mean", 0)
    assert opening_importance(contents(heads=heads), heads) == Setting("mean", 5)
    single = [Setting("a", 5), Setting("b", 5), Setting("a", 0)]
    assert opening_importance(known, single) == Setting("a", 5)
    assert furthest_above_chance(known.accuracy, [Setting("b", 5), Setting("b", 0)]) == Setting("b", 0)
    assert opening_importance(known, []) is None


def test_an_induction_head_is_above_one_half_and_above_random_weights() -> None:
    errors = torch.full((1, 4), 0.05**2)
    prefix = HeadScores([[0.9, 0.55, 0.45, nan]], variance=errors * 4, n=4, measure="prefix_matching")
    found = induction_heads(contents({"prefix_matching": prefix}))
    assert (found.heads, found.random, found.uncertain) == ([(0, 0), (0, 1)], None, [(0, 1), (0, 2)])
    control = {"prefix_matching": HeadScores([[0.6, 0.1, 0.0, 0.0]])}
    beyond = induction_heads(replace(contents({"prefix_matching": prefix}), control=control))
    assert beyond.heads == [(0, 0)]
    assert beyond.random == pytest.approx(0.6)
    screen = FirstScreen(replace(contents({"prefix_matching": prefix}), control=control))
    assert which_heads(screen).endswith("With random weights no head exceeds 0.600.")
    assert how_sure(screen) == (
        "L0H0 has 0.900 ± 0.050 (standard error over 4 sequences; it covers other random tokens). L0H1 and L0H2 are "
        "within two errors of 0.5."
    )
    assert induction_heads(contents()) is None
    nothing = FirstScreen(contents())
    assert [answer.measured for answer in five_answers(nothing)] == [False] * 5
    assert (nothing.sentence, nothing.picture) == ("This run has no scores of heads yet.", None)


def test_attention_on_text_is_that_of_a_plain_loop(needs_run: Run) -> None:
    patterns = needs_run["attention/text"]
    text = text_attention(read_contents(needs_run))
    tokens = patterns.tokens
    expected = kinds_of_attention(patterns.values(2, 1).tolist(), tokens)
    for kind, (share, even, queries) in expected.items():
        assert float(text.shares[kind][2, 1]) == pytest.approx(share, abs=1e-5, nan_ok=True)
        assert text.even[kind] == pytest.approx(even, abs=1e-6, nan_ok=True)
        assert text.queries[kind] == queries
    off = [1 - row[0] if query else 0 for query, row in enumerate(patterns.values(2, 1).tolist())]
    assert off[text.opening_query((2, 1))] == pytest.approx(max(off))


def test_a_perfect_induction_pattern_attends_to_successors_alone() -> None:
    tokens = ("s", "a", "b", "c", "a", "b", "c")
    weights = torch.zeros(1, 1, 7, 7)
    for query, key in ((0, 0), (1, 0), (2, 0), (3, 0), (4, 2), (5, 3), (6, 4)):
        weights[0, 0, query, key] = 1
    text = text_attention(replace(contents(), attention={"text": Patterns.of(weights, tokens)}))
    shares = {kind: float(share) for kind, share in text.shares.items()}
    assert shares == {"first": 0.5, "previous": 0, "duplicate": 0, "successor": 1}
    assert [label for label, heads in labels(text).items() if heads] == ["induction on this text"]
    assert text.opening_query((0, 0)) == 6


def test_labels_are_those_of_the_atlas_where_there_is_one() -> None:
    parts = {
        f"{prefix}{name}": HeadScores(values)
        for prefix in ("", "on_text/", "control/", "control/on_text/")
        for name, values in {
            "previous_token": [[0.9, 0.1], [nan, 0.6]],
            "first_token": [[0.5, 0.0], [0.1, 0.2]],
        }.items()
    }
    known = replace(contents(), results={"atlas/heads": HeadAtlas(parts)})
    assert atlas_of(known.results) is not None
    assert head_labels(FirstScreen(known)) == {"first-token head": [], "previous-token head": [0, 3]}


def test_names_cover_neither_dots_nor_one_another() -> None:
    scores = HeadScores(torch.linspace(0, 1, 12).view(3, 4))
    across = axis("x", scores.values.double().flatten().numpy(), (0.0, 1.0))
    upwards = axis("y", torch.logspace(-4, 0, 12).double().numpy())
    assert across.ticks[0] == (0.0, "0")
    assert upwards.title == "y, logarithmic"
    assert [text for _, text in upwards.ticks] == ["1e-4", "0.001", "0.01", "0.1", "1"]
    picture = head_scatter(across, upwards, scores, [(2, 3), (2, 2), (0, 0)], ringed=[(2, 3)])
    assert [dot.label for dot in picture.named] == ["L2H3", "L2H2", "L0H0"]
    assert [len(dots) for _, dots in picture.layers] == [4, 4, 4]
    assert picture.ringed == {11}
    crowded = head_scatter(across, across, scores, [(0, head) for head in range(4)] * 3)
    assert len(crowded.named) < 12
    missing = axis("x", torch.tensor([nan, 0.5]).double().numpy())
    ((_, dots),) = head_scatter(missing, missing, HeadScores([[nan, 0.5]]), [(0, 0), (0, 1)]).layers
    assert [x == x for _, x, _ in dots] == [False, True]


def test_layers_are_ranked_as_heads_are() -> None:
    assert ranks(LayerScores([1, nan, 3])) == {(2,): 1, (0,): 2}
    assert ranks(HeadScores([[1, 3]])) == {(0, 1): 1, (0, 0): 2}
