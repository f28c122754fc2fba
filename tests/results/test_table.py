"""Tables give back what was put in, NaN included, and refuse what they cannot hold."""

import math

import pytest

from headcount.results import InputError, Table, create_run, open_run


def test_a_run_gives_back_what_was_saved(tmp_path):
    rows = [{"a": "x", "b": 1.5, "c": None}, {"a": "y", "b": math.nan, "c": True}, {"a": "z", "b": -math.inf, "c": 3}]
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    run.save("analyses/some", Table.of(rows, "what it is", seed=3))
    table = open_run(tmp_path / "run")["analyses/some"]
    assert table.columns == ("a", "b", "c")
    assert table.definition == "what it is"
    assert table.provenance == {"seed": 3}
    assert math.isnan(table.records()[1]["b"])
    assert table.records()[0] == rows[0]
    assert table.records()[2] == rows[2]
    assert list(table.to_frame()["a"]) == ["x", "y", "z"]


def test_an_empty_table_is_a_table():
    assert Table.of([]).records() == []
    assert len(Table.of([]).to_frame()) == 0


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="one value for each of a, b, got 1"):
        Table(("a", "b"), ((1,),))
    with pytest.raises(InputError, match="expected numbers, text"):
        Table(("a",), (([1],),))


def test_its_name_says_what_it_holds():
    assert repr(Table.of([{"a": 1, "b": 2}], "two numbers")) == "Table(two numbers: 1 rows of a, b)"
