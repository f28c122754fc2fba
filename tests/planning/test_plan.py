"""The costs of a study, before any weight is loaded."""

import json

import pytest
import torch
from support.headcount_runs import run

from headcount.importance.internal import paper_tasks
from headcount.planning import Hardware, Shape, hardware, plan_study, unit_costs
from headcount.planning.costs import in_batches, pass_cost
from headcount.planning.hardware import known_devices
from headcount.planning.layouts import choose_layout
from headcount.planning.memory import cut_bytes, weight_bytes
from headcount.planning.plan_tasks import placeholder_task, published_rows
from headcount.planning.shape import Remaining
from headcount.results import create_run
from headcount.study import StudyConfig, TaskGroup, Unit, induction_units
from headcount.tracing import describe_model
from headcount.tracing.internal import Item, Items, Kind, ModelPass, planned_batches

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
    assert "one device holds the model; 2 copies of it (study --ray --gpus-per-model 1) end the study" in text


def test_json_holds_the_same(capsys, tmp_path):
    arguments = ("plan", "--preset", "quick", "--model", "tiny-opt", "--data", tmp_path)
    status, out, _ = run(capsys, *arguments, "--hardware", "H100-80GB", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["total"]["flops"] == pytest.approx(sum(part["flops"] for part in found["parts"]))
    assert found["total"]["seconds"] > 0
    assert found["layout"] == {"copies": 1, "devices_of_a_copy": 1, "seconds": pytest.approx(found["total"]["seconds"])}
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
    shape, units = Shape.of(model), induction_units(model, 1, 0, control=True)
    whole, *_, control = unit_costs(units, shape, on(devices=8, memory=30e9))
    assert whole.fits
    assert not control.fits  # a second model's weights come on top
    assert unit_costs(units, shape, on(devices=8, memory=30e9, kind="cuda"))[-1].fits  # they take turns on GPUs


def test_the_layout_with_the_most_copies_that_fit_finishes_first(tmp_path):
    """Units of one length each, none of which needs another: a hand-made schedule."""
    shape, run = described(), create_run(tmp_path / "run", model={"name": "tiny-opt"})
    items = Items((Item(100, 2, 2),))

    def unit(number, *needs, group=""):
        passes = (ModelPass(Kind.FORWARD, items, key=(group, "whole") if group else None),)
        return Unit(f"unit {number}", (f"accuracy/u{number}",), {}, 1, None, needs, lambda: passes, group=group)

    units = [unit(number) for number in range(8)]
    hardware = on(devices=8)
    one = choose_layout(units, run, shape, on())
    several = choose_layout(units, run, shape, hardware)
    assert (one.copies, several.copies, several.on.devices) == (1, 8, 1)
    assert one.seconds == pytest.approx(8 * several.seconds)
    assert one.seconds == pytest.approx(sum(cost.seconds for cost in unit_costs(units, shape, on())))

    half = weight_bytes(shape, 2) + several.costs[0].memory._replace(weights=0.0).total  # half of the model, and a pass
    small = choose_layout(units, run, shape, on(devices=8, memory=half + 1))
    assert (small.copies, small.on.devices) == (4, 2)
    assert small.seconds == pytest.approx(2 * several.seconds, rel=0.05)
    none = choose_layout(units, run, shape, on(devices=8, memory=1.0))
    assert (none.copies, none.on.devices, none.costs[0].fits) == (1, 8, False)

    chain = [unit(0), unit(1, "accuracy/u0"), unit(2, "accuracy/u1")]  # each waits for the one before
    assert choose_layout(chain, run, shape, hardware).seconds == pytest.approx(3 * several.seconds)
    alike = [unit(number, group="task") for number in range(2)]  # a second copy repeats what the first remembers
    assert choose_layout(alike, run, shape, hardware).seconds == pytest.approx(several.seconds)
    assert choose_layout(alike, run, shape, on()).seconds == pytest.approx(several.seconds)


def test_cut_weights_are_a_copy_only_where_they_leave_half_of_the_memory():
    model_pass = ModelPass(Kind.FORWARD, Items((Item(10, 2, 2),)), heads=2)
    shape = described()
    weights, cut = weight_bytes(shape, 1), cut_bytes(shape, 1, Remaining.of(shape, 2, 0).heads)
    plenty = pass_cost(model_pass, shape, on(memory=weights + 2 * cut + 1))
    scarce = pass_cost(model_pass, shape, on(memory=weights + 2 * cut - 1))
    assert plenty.memory.weights == pytest.approx(weights + cut)
    assert scarce.memory.weights == pytest.approx(weights + cut / shape.sizes.n_layers)


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
