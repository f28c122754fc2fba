"""Names of tasks, and the errors for a name that no task has."""

import pytest

from headcount.importance import load_task
from headcount.importance.tasks.catalogue import WORD_LISTS, resolve_name, task_names
from headcount.results import InputError


def test_there_are_six_lists_and_sixteen_tasks():
    assert len(WORD_LISTS) == 6
    assert len(task_names()) == 22


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("ARC-Easy", "arc_easy"),
        ("lambada", "lambada_openai"),
        ("sglue_rte", "rte"),
        ("Math QA", "mathqa"),
        ("HellaSwag", "hellaswag"),
        ("multi-rc", "multirc"),
        ("openbookqa", "openbookqa"),
        ("something else", "something else"),
    ],
)
def test_aliases(alias, name):
    assert resolve_name(alias) == name


@pytest.mark.parametrize(
    ("name", "offered"),
    [("arc_esy", "did you mean arc_easy"), ("pica", "did you mean .*piqa"), ("hellaswagg", "did you mean hellaswag")],
)
def test_an_unknown_task_is_offered_the_nearest_names(name, offered):
    with pytest.raises(InputError, match=f"no task is called '{name}': {offered}"):
        load_task(name)


def test_a_name_near_nothing_is_offered_all():
    with pytest.raises(InputError, match=r"there are country_capital, .*lambada_openai"):
        load_task("qqqqqqqqqqqq")


def test_an_unknown_profile_is_refused():
    with pytest.raises(InputError, match="expected the profile 'harness' or 'paper', got 'today'"):
        load_task("piqa", profile="today")
