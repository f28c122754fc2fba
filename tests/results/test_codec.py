"""One form for the fields of all results: numbers that JSON lacks as words, tensors by name; older forms are read."""

import json
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from headcount.results import Accuracy, HeadProfile, HeadScores, InputError, PruningCurve, RepeatLoss, Standing, Table
from headcount.results.storage.codec import decode, encode
from headcount.results.storage.files import Content

STANDING = {"value": 0.5, "stderr": "nan", "rank": 1, "among": 2, "n": 3, "definition": "d"}


def accuracy(**changes: Any) -> Accuracy:
    return Accuracy(**({"value": 0.1, "stderr": nan, "n": 1, "chance": -inf, "majority": inf} | ANSWERS | changes))


ANSWERS = {"correct": [1], "choice": [0], "gold_log_p": [-1], "margin": [nan]}


def profile() -> HeadProfile:
    standings = {name: Standing(0.5, nan, 1, 2, 3, "d") for name in ("prefix_matching", "copying")}
    return HeadProfile(
        *(0, 1, "ab", ("a", "b"), torch.eye(2), [1, nan], nan, [0, 0], [nan, 0], ("a", "b"), (("x",), ("y",))),
        *([[1], [1]], (("x",), ("y",)), [[-1], [-1]], [0, 1], [1, 2], 9, standings),
    )


def test_a_finite_number_is_a_json_number_and_any_other_its_word() -> None:
    fields = encode(accuracy()).fields
    assert [fields[name] for name in ("value", "stderr", "chance", "majority")] == [0.1, "nan", "-inf", "inf"]
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields


def test_where_text_may_stand_a_word_stands_in_a_list() -> None:
    table = Table(("a", "b", "c", "d"), (("nan", nan, 1.5, None), ("x", -inf, 3, True)))
    assert encode(table).fields["rows"] == [["nan", ["nan"], 1.5, None], ["x", ["-inf"], 3, True]]
    rows = decode(Table, encode(table))["rows"]
    assert rows[0][0] == "nan"
    assert isnan(rows[0][1])
    assert rows[1] == ["x", -inf, 3, True]


def test_tensors_are_stored_by_name_and_those_of_a_dict_with_a_prefix() -> None:
    scores = HeadScores([[0.5, 1]], extras={"bos": [[0, 1]]}, n=2, measure="copying")
    content = encode(scores)
    assert list(content.tensors) == ["values", "extra.bos"]
    assert list(content.fields) == ["n", "measure", "definition", "provenance"]
    back = HeadScores(**decode(HeadScores, content))
    assert (back.variance, back.extras["bos"].tolist()) == (None, [[0, 1]])


def test_a_json_file_has_its_tensors_as_lists() -> None:
    content = RepeatLoss([2, nan], None, 1, -1.0, nan).to_content()
    assert content.tensors == {}
    assert (content.fields["loss"], content.fields["variance"]) == ([2.0, "nan"], None)

    @dataclass
    class Grid:
        values: Float[Tensor, "row column"]

    content = encode(Grid(torch.tensor([[1, inf], [2, 3]])), inline=True)
    assert content.fields["values"] == [[1.0, "inf"], [2.0, 3.0]]
    assert decode(Grid, content) == {"values": [[1, inf], [2, 3]]}


def test_a_mapping_is_a_list_of_pairs_in_its_order() -> None:
    content = encode(profile())
    assert content.fields["standings"] == [["prefix_matching", STANDING], ["copying", STANDING]]
    assert content.fields["sink"] == "nan"
    assert list(decode(HeadProfile, content)["standings"]) == ["prefix_matching", "copying"]
    doubled = Content("HeadProfile", content.fields | {"standings": [["copying", STANDING]] * 2})
    with pytest.raises(ValueError, match="the key 'copying' is there twice"):
        decode(HeadProfile, doubled)


@pytest.mark.parametrize(
    ("kind", "fields", "name", "expected"),
    [
        (Accuracy, {"value": "0.5"}, "value", 0.5),
        (Accuracy, {"majority": "nan"}, "majority", nan),
        (PruningCurve, {"chance": "0.25", "percents": [0, 50.0]}, "chance", 0.25),
        (PruningCurve, {"percents": [0, 50.0]}, "percents", [0, 50.0]),
        (HeadProfile, {"sink": "0.125"}, "sink", 0.125),
        (RepeatLoss, {"loss": [1, "nan"], "variance": None}, "loss", [1, nan]),
        (
            HeadProfile,
            {"standings": [["copying", STANDING | {"value": "0.5"}]]},
            "standings",
            {"copying": Standing(0.5, nan, 1, 2, 3, "d")},
        ),
    ],
)
def test_numbers_as_text_which_earlier_versions_wrote_are_read(
    kind: type, fields: dict[str, Any], name: str, expected: object
) -> None:
    assert repr(decode(kind, Content(kind.__name__, fields))[name]) == repr(expected)


def test_text_that_is_no_number_is_refused_by_the_name_of_its_field() -> None:
    for name, value in (("value", "half"), ("chance", True), ("chance", None), ("majority", 10**400)):
        with pytest.raises(InputError, match=f"{name}: expected a real number, got"):
            decode(Accuracy, Content("Accuracy", {name: value}))
