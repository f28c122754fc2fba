"""From log-likelihoods to units that are right, and the accuracy of guessing."""

import math

import pytest

from headcount.importance import Document, Example
from headcount.importance.likelihoods import metrics


def documents(*golds, choices=2, groups=None):
    requests = (Example("a", " b"),) * choices
    groups = groups or [None] * len(golds)
    return [Document(n, requests, gold, group) for n, (gold, group) in enumerate(zip(golds, groups, strict=True))]


NEVER = [[False, False]] * 4


def test_the_likeliest_choice_counts_and_the_first_of_equals():
    scored = documents((0,), (1,), (1,), (0, 1))
    values = [[-1.0, -2.0], [-1.0, -2.0], [-3.0, -3.0], [-3.0, -3.0]]
    assert metrics.correct("acc", scored, values, NEVER) == [True, False, False, True]


def test_a_question_is_right_if_all_its_answers_are():
    scored = documents((0,), (1,), (0,), (1,), groups=["p", "p", "q", "q"])
    values = [[0.0, -1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, -1.0]]
    assert metrics.correct("acc_all", scored, values, NEVER) == [True, False]
    assert metrics.units("acc_all", scored) == [[0, 1], [2, 3]]
    assert metrics.chance("acc_all", scored) == 0.25


def test_greedy_counts_the_greedy_continuation():
    scored = documents((0,), (0,), choices=1)
    assert metrics.correct("greedy", scored, [[-9.0], [-0.1]], [[True], [False]]) == [True, False]
    assert metrics.chance("greedy", scored) == 0.0


def test_chance_counts_each_documents_choices():
    scored = documents((0,), choices=4) + documents((0, 1), choices=3)
    assert metrics.chance("acc", scored) == pytest.approx((1 / 4 + 2 / 3) / 2)


def test_majority_is_the_best_constant():
    assert metrics.majority("acc", documents((0,), (1,), (1,), (1,))) == 0.75
    assert metrics.majority("acc_all", documents((0,), (0,), (0,), (1,), groups=["p", "p", "q", "q"])) == 0.5


def test_tasks_without_common_answers_have_no_majority(real_rows):
    from headcount.importance import load_task

    task = load_task("arc_easy", "paper", real_rows)
    assert math.isnan(task.majority(task.documents(limit=5)))
    task = load_task("cb", "paper", real_rows)
    labels = [row["label"] for row in task.rows.scored]
    expected = max(labels.count(label) for label in range(3)) / len(labels)
    assert task.majority(task.documents()) == pytest.approx(expected)
