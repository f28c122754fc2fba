"""The costs of a study, before any weight is loaded."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.importance.internal import paper_tasks
from headcount.planning import Hardware, Shape, hardware, plan_study, unit_costs
from headcount.planning.costs import in_batches
from headcount.planning.hardware import known_devices
from headcount.planning.plan_tasks import placeholder_task, published_rows
from headcount.study import StudyConfig, TaskGroup, induction_units
from headcount.tracing import describe_model
from headcount.tracing.internal import Item, Items, Kind, planned_batches

CONFIG = StudyConfig(
    model="tiny-opt", tasks=[TaskGroup(names=["plural"], shots=[0, 2], limit=12)], sequences=3, examples=10
)


def described():
    return Shape.of(describe_model("tiny-opt").model)


def on(**changes):
    return Hardware(**{**vars(Hardware("test", 1, "cpu", 1e12, 1e10, 1e11, "invented")), **changes})


def test_the_command_prints_every_part_and_what_was_assumed(capsys):
    status, out, err = run(
        capsys, "plan", "--preset", "quick", "--model", "tiny-opt", "--hardware", "2xA100-80GB", "--data", "nowhere"
    )
    assert (status, err) == (0, "")
    for words in ("induction scores", "head importance", "FFN importance", "removal, own ranking", "in all"):
        assert words in out
    text = " ".join(out.split())
    assert "of which 40% are assumed to be reached" in text
    assert "made-up rows of typical length" in text
    assert "2 devices hold the layers one after another" in text


def test_json_holds_the_same(capsys, tmp_path):
    arguments = ("plan", "--preset", "quick", "--model", "tiny-opt", "--data", tmp_path)
    status, out, _ = run(capsys, *arguments, "--hardware", "H100-80GB", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["total"]["flops"] == pytest.approx(sum(part["flops"] for part in found["parts"]))
    assert found["total"]["seconds"] > 0
    assert found["hardware"]["flops"] == pytest.approx(0.4 * 67e12)  # tiny-opt is float32


def test_a_file_describes_ones_own_hardware(capsys, tmp_path):
    good = {"flops_16": 1e14, "flops_32": 1e13, "memory": 1e11, "bandwidth": 1e12, "utilisation": 0.5}

    def plan(entry):
        (tmp_path / "own.toml").write_text("".join(f"{key} = {value!r}\n" for key, value in entry.items()))
        hardware = tmp_path / "own.toml"
        return run(
            capsys, "plan", "--preset", "quick", "--model", "tiny-opt", "--data", tmp_path, "--hardware", hardware
        )

    assert plan(good | {"devices": 2, "name": "mine"})[0] == 0
    for entry, message in (
        (good | {"cores": 4}, "there is no key 'cores'; expected flops_16"),
        ({key: good[key] for key in good if key != "memory"}, "memory is missing; expected"),
        (good | {"utilisation": 1.5}, "utilisation must be at most 1"),
        (good | {"bandwidth": -1}, "bandwidth must be a number above 0"),
        (good | {"kind": "tpu"}, "kind must be cuda or cpu"),
    ):
        status, out, err = plan(entry)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert message in err


def test_unknown_hardware_is_one_line_that_names_what_is_known(capsys):
    status, out, err = run(capsys, "plan", "--preset", "quick", "--model", "tiny-opt", "--hardware", "8xB300")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert all(name in err for name in known_devices())


def test_this_machine_is_measured():
    found = plan_study(CONFIG, "this")
    assert found.on.kind == "cpu"
    assert found.on.flops > 1e8
    assert found.on.bandwidth > 1e8


def test_a_product_that_would_take_minutes_is_timed_in_part(monkeypatch):
    """By a clock on which every column of the matrix takes a hundredth of a second."""
    clock = [0.0]

    def linear(tokens, weights):
        clock[0] += 0.01 * len(weights)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("torch.nn.functional.linear", linear)
    assert hardware._product_seconds(16, 36864, torch.float16, torch.device("cpu")) == pytest.approx(368.64)
    assert clock[0] < 5


def test_a_dry_run_says_the_same_flops_as_the_plan(capsys, tmp_path):
    (tmp_path / "study.toml").write_text(
        "model = 'tiny-opt'\nsequences = 3\nexamples = 10\n[[tasks]]\nnames = ['plural']\nshots = [0, 2]\nlimit = 12\n"
    )
    arguments = ("study", tmp_path / "study.toml", "--out", tmp_path / "run", "--dry-run", "--json")
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    units = json.loads(out)
    assert sum(unit["flops"] for unit in units) == pytest.approx(
        plan_study(CONFIG, "A100-40GB").total.cost.flops, rel=0.1
    )
    assert all(unit["seconds"] > 0 for unit in units if unit["flops"])


def test_batches_are_those_of_the_measurements():
    lengths = [5, 400, 300, 300, 80, 7]
    assert planned_batches(lengths) == [[1, 2], [3, 4, 5], [0]]
    assert planned_batches(lengths, fits=lambda batch: len(batch) < 3) == [[1, 2], [3], [4], [5], [0]]
    with pytest.raises(torch.OutOfMemoryError):
        planned_batches(lengths, fits=lambda batch: False)


def test_padding_is_counted_and_what_does_not_fit_is_halved():
    items, shape = Items((Item(100, 2, 2), Item(60, 2, 2))), described()
    plenty = in_batches(items, Kind.FORWARD, shape, on(), 1e12)
    assert (plenty.batches, plenty.totals.tokens, plenty.totals.squares) == (1, 200, 20_000)
    scarce = in_batches(items, Kind.FORWARD, shape, on(), plenty.memory.total - 1)
    assert (scarce.batches, scarce.totals.tokens) == (2, 160)
    assert scarce.memory.total < plenty.memory.total


def test_a_model_that_does_not_fit_is_marked():
    found = plan_study(CONFIG, "A100-40GB")
    assert found.total.cost.fits
    model = describe_model("facebook/opt-66b").model
    whole, *_, control = unit_costs(
        induction_units(model, 1, 0, control=True), Shape.of(model), on(devices=8, memory=30e9)
    )
    assert whole.fits
    assert not control.fits  # a second model's weights come on top


def test_rows_are_counted_as_published_on_request(tmp_path):
    config = CONFIG.model_copy(update={"tasks": [TaskGroup(names=["piqa"], limit=None)], "data": str(tmp_path)})
    found = plan_study(config, "A100-40GB")
    accuracy = next(part for part in found.rows if part.name == "accuracy")
    assert accuracy.cost.down == 2 * 4 * 2 * published_rows()["piqa"]["scored"]  # two numbers for each of two choices


def test_placeholder_tasks_have_the_shape_of_their_task():
    assert published_rows().keys() == paper_tasks().keys()
    for name, entry in published_rows().items():
        document = placeholder_task(name, "paper").documents(shots=1, limit=1)[0]
        assert len(document.requests) == entry["choices"]
        words = len(document.requests[0].context.split())
        assert words == entry["shot"] + entry["context"]
