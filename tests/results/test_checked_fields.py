"""A file whose checksum is right and whose content is not, a later version's or a stranger's, is refused in a line."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headcount.results import (
    Accuracy,
    Correlation,
    HeadProfile,
    HeadScores,
    InductionScores,
    InputError,
    LayerScores,
    Merge,
    Patterns,
    PruningCurve,
    PruningGrid,
    RepeatLoss,
    ShotPair,
    Standing,
    Table,
    create_run,
)
from headcount.results.errors import DamagedError
from headcount.results.storage import files

HUGE = 10**400
STANDING = {"value": "0.5", "stderr": "nan", "rank": 1, "among": 2, "n": 3, "definition": "d"}
KINDS: dict[str, Callable[[], Any]] = {
    "HeadScores": lambda: HeadScores([[0.5, 1]], extras={"bos": [[0, 1]]}, measure="copying", definition="published"),
    "LayerScores": lambda: LayerScores([0.5, 1], measure="ffn_importance"),
    "RepeatLoss": lambda: RepeatLoss([2, 1], [1, nan], 3, -1, nan),
    "Accuracy": lambda: Accuracy(0.5, nan, 2, 0.5, nan, [1, 0], [0, 1], [-1, -2], [1, nan]),
    "PruningCurve": lambda: PruningCurve(
        "heads", "static", (0, 50.0), (0, 1), (0.0, 10.0), (0,), [[1, 0]], *[[[[1], [0]]]] * 3, 0.5, nan
    ),
    "PruningGrid": lambda: PruningGrid((0,), (0, 50.0), ((0, 10),), *[[[[1], [0]]]] * 3, 0.5, nan),
    "Table": lambda: Table(("a", "b"), (("x", 1), (nan, None)), "what it is"),
    "Patterns": lambda: Patterns.of(torch.eye(2)[None, None], ["a", "b"], "two words"),
    "HeadProfile": lambda: HeadProfile(
        *(0, 1, "ab", ("a", "b"), torch.eye(2), [1, nan], 0.0, [0, 0], [nan, 0], ("a", "b"), (("x",), ("y",))),
        *([[1], [1]], (("x",), ("y",)), [[-1], [-1]], [0, 1], [1, 2], 9, {"copying": Standing(0.5, nan, 1, 2, 3, "d")}),
    ),
}
WRONG = [
    *[(kind, "n", value) for kind in ("HeadScores", "LayerScores", "Accuracy", "RepeatLoss") for value in (HUGE, "3")],
    *[(kind, "definition", 5) for kind in ("HeadScores", "LayerScores", "Table", "Patterns")],
    *[(kind, "measure", value) for kind in ("HeadScores", "LayerScores") for value in (5, None, ["copying"], "\ud800")],
    *[(kind, "provenance", [1]) for kind in KINDS],
    *[("PruningCurve", name, ["a", 1]) for name in ("percents", "removed", "parameters")],
    *[("PruningCurve", name, [None, 1]) for name in ("percents", "removed", "parameters")],
    *[("PruningCurve", name, [HUGE, 1]) for name in ("percents", "removed", "parameters")],
    *[("PruningCurve", name, "ab") for name in ("percents", "removed", "parameters")],
    ("PruningCurve", "removed", [0.5, 1]),
    ("PruningCurve", "removed", [False, 1]),
    ("PruningCurve", "seeds", ["a"]),
    ("PruningCurve", "seeds", []),
    *[("PruningCurve", "component", value) for value in (5, "both", ["heads"])],
    *[("PruningCurve", "strategy", value) for value in (5, "clever")],
    *[(kind, name, HUGE) for kind in ("PruningCurve", "PruningGrid", "Accuracy") for name in ("chance", "majority")],
    *[("PruningGrid", "head_percents", value) for value in (["x", 1], [0, None], {"0": 0, "1": 1})],
    ("PruningGrid", "ffn_percents", ["x"]),
    *[("PruningGrid", "parameters", value) for value in ([["a", 1]], [[0, HUGE]], ["ab"])],
    *[("Accuracy", "value", value) for value in ("half", True, None)],
    *[("Accuracy", "cut", value) for value in ("1", HUGE, 0.5)],
    *[("RepeatLoss", "loss", value) for value in ([HUGE, 1], [None, 1], ["a", 1], [1e39, 1], "12", 5)],
    ("RepeatLoss", "late_minus_early", HUGE),
    *[("Table", "columns", value) for value in (["a", "a"], ["a", ""], ["a", 5], "ab", ["a"])],
    *[("Table", "rows", [[value, 1]]) for value in (HUGE, 2**63, [], ["nan", "nan"], ["x"], [HUGE], {}, "\ud800")],
    *[("Table", "rows", value) for value in ([[1]], ["xy"], [{"x": 1, "y": 2}], "xy", 5)],
    *[("Patterns", "tokens", value) for value in (["a", 5], "ab", ["a"])],
    *[("HeadProfile", name, value) for name in ("layer", "head", "vocab") for value in ("0", 0.5, HUGE)],
    *[("HeadProfile", name, value) for name in ("tokens", "sources") for value in (["a", 5], "ab", [])],
    *[("HeadProfile", name, value) for name in ("raised", "lowered") for value in (["x", "y"], [[1], [2]])],
    *[("HeadProfile", "sink", value) for value in (HUGE, "much")],
    ("HeadProfile", "text", 5),
    *[("HeadProfile", "standings", [["copying", STANDING | {name: HUGE}]]) for name in STANDING],
    ("HeadProfile", "standings", [[5, STANDING]]),
    ("HeadProfile", "standings", [["copying", "first"]]),
]


def resealed(path: Path, result: Any, fields: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None) -> None:
    """Saves a result with something changed, under a checksum that fits the change."""
    result.save(path)
    content = files.read_content(path)
    files.write_content(
        path, replace(content, fields=content.fields | fields, tensors=content.tensors | (tensors or {}))
    )


def refused(path: Path, kind: type) -> None:
    with pytest.raises(DamagedError) as caught:
        kind.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_changed_is_read(tmp_path: Path, kind: str) -> None:
    result = KINDS[kind]()
    resealed(tmp_path / "file", result, {})
    assert type(result).load(tmp_path / "file").to_content().header() == result.to_content().header()


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_a_changed_field_is_refused(tmp_path: Path, kind: str, name: str, value: object) -> None:
    result = KINDS[kind]()
    assert name in result.to_content().fields
    resealed(tmp_path / "file", result, {name: value})
    refused(tmp_path / "file", type(result))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("HeadScores", "values", torch.tensor([[1e39, 1]], dtype=torch.float64)),
        ("HeadScores", "extra.bos", torch.tensor([[0, -1e39]], dtype=torch.float64)),
        ("HeadScores", "extra.value", torch.zeros(1, 2)),
        ("HeadProfile", "own_rank", torch.tensor([1, nan])),
        ("HeadProfile", "own_rank", torch.tensor([0, 1.0])),
        ("HeadProfile", "pattern", torch.tensor([[1, 0], [nan, 1]])),
        ("Patterns", "weights", torch.zeros(1, 1, 2, 2)),
    ],
)
def test_a_changed_tensor_is_refused(tmp_path: Path, kind: str, name: str, value: torch.Tensor) -> None:
    result = KINDS[kind]()
    resealed(tmp_path / "file", result, {}, {name: value})
    refused(tmp_path / "file", type(result))


def test_a_run_names_the_file_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    path = run.save("induction/copying", KINDS["HeadScores"]())
    content = files.read_content(path)
    files.write_content(path, replace(content, fields=content.fields | {"measure": 5}))
    with pytest.raises(DamagedError, match=r"copying.safetensors is damaged .*\(measure: expected text, got 5\)"):
        run["induction/copying"]


@pytest.mark.parametrize(
    "values", [[[HUGE]], [[1e39]], [[None]], [["1"]], np.array([[1e39]]), torch.tensor([[1e39]], dtype=torch.float64)]
)
def test_numbers_that_float32_cannot_hold_are_bad_input(values: Any) -> None:
    with pytest.raises(InputError, match="values: expected real numbers in a rectangular array, got"):
        HeadScores(values)
    assert HeadScores([[float("inf"), -float("inf"), 3e38]]).values.isinf().tolist() == [[True, True, False]]


def correlation(**changes: Any) -> Correlation:
    return Correlation(**(dict.fromkeys(list(Correlation.__dataclass_fields__)[:9], 0.5) | {"n": 9} | changes))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: correlation(rho="a"), "rho: expected a real number, got 'a'"),
        (lambda: correlation(n=HUGE), "n: expected a whole number below 2\\^63, got 1000"),
        (lambda: correlation(n=10**5000), "n: expected a whole number below 2\\^63, got int"),
        (lambda: correlation(within=5), "within: expected text or None, got 5"),
        (lambda: Merge(True, 0, 0.5, 2), "left: expected a whole number below 2\\^63, got True"),
        (lambda: ShotPair((0, 1, 2), {}, 0.5, nan, 1), r"shots: expected a list of \(a whole number .*got \(0, 1, 2\)"),
        (lambda: ShotPair((0, 1), {"a": 0.5}, 0.5, nan, 1), r"tasks: expected a dict of \(text: Correlation\)"),
        (lambda: Standing(0.5, nan, 1.5, 2, 3, ""), "rank: expected a whole number below 2\\^63 or None, got 1.5"),
        (
            lambda: InductionScores(*[KINDS["LayerScores"]()] * 3),
            "prefix_matching: expected HeadScores, got LayerScor",
        ),
        (lambda: HeadScores([[1]], measure=torch.zeros(3, 3)), "measure: expected text, got tensor"),
        (lambda: HeadScores([[1]], extras=[1]), "extras: expected a dict"),
        (lambda: Table(("a", "a"), ((1, 2),)), r"columns: expected a different name for each, got \('a', 'a'\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
