"""A model whose layers are on several devices: every measurement is the same.

There is one device here, under two names: to accelerate these are two, and it leads activations from one to the other.
"""

import json

import pytest
import torch
from support.headcount_runs import run

import headcount as hc
from headcount.results import create_run
from headcount.study import induction_units, load_setups, measure_units, pruning_units


@pytest.fixture(scope="module")
def whole():
    return hc.load_model("tiny-opt")


@pytest.fixture(scope="module")
def spread(whole):
    leaves = [name for name, module in whole.hf.named_modules() if not list(module.children())]
    places = {name: torch.device("cpu:0" if ".layers.1." in name else "cpu") for name in leaves}
    return hc.load_model("tiny-opt", device_map=places)


def results(model, folder):
    """Scores with their control, and importance and pruning of heads and networks."""
    made = create_run(folder, model={"name": model.name})
    setups = load_setups(["key_value"], [1], 6, None, "harness", 0)
    units = induction_units(model, 2, 0, control=True)
    for component in ("heads", "ffns"):
        units += pruning_units(model, made, setups, component, "static", [50], [0])
    measure_units(units, made)
    return {name: result.to_content() for name, result in made.items()}


def test_every_measurement_is_the_same_on_two_devices(whole, spread, tmp_path):
    assert len(set(spread.hf.hf_device_map.values())) == 2
    assert hasattr(spread.hf.get_submodule("model.decoder.layers.1.fc1"), "_hf_hook")
    alone, both = results(whole, tmp_path / "whole"), results(spread, tmp_path / "spread")
    assert set(alone) == set(both)
    assert {"control/copying", "pruning/heads/key_value.1shot.own", "importance/ffns/key_value.1shot"} <= set(both)
    for name, content in both.items():
        torch.testing.assert_close(content.tensors, alone[name].tensors, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_random_weights_go_where_the_model_is(spread):
    control = hc.tracing.randomised(spread)
    assert hasattr(control.hf.get_submodule("model.decoder.layers.1.fc1"), "_hf_hook")


def test_a_study_says_where_its_model_goes(tmp_path, capsys):
    config = tmp_path / "study.toml"
    config.write_text("model = 'tiny-opt'\ndevice = 'auto'\n[[tasks]]\nnames = ['plural']\nlimit = 2\n")
    status, out, err = run(capsys, "study", config, "--out", tmp_path / "run", "--dry-run", "--json")
    assert status == 0, err
    assert len(json.loads(out)) > 10
    status, _, err = run(capsys, "study", config, "--out", tmp_path / "run", "--device", "nowhere:1")
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot read the weights of model" in err
