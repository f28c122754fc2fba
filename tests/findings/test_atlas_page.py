"""The page on head atlases: its heads are those of the results, and none that is below its control."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from headcount.results import HeadAtlas, HeadScores, PairScores, create_run

SCRIPT = Path(__file__).parents[2] / "findings" / "atlas" / "make_atlas_page.py"


@pytest.fixture(scope="module")
def make_page():
    spec = spec_from_file_location("make_atlas_page", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_page


def scores(highest, value, n=4):
    values = torch.full((2, 3), 0.1)
    values[highest] = value
    return HeadScores(values, variance=torch.full((2, 3), 0.0004), n=n, measure="score")


def test_the_page_names_heads_above_their_controls(make_page, tmp_path):
    run = create_run(tmp_path / "small", model={"name": "small model"})
    parts = {
        "previous_token": scores((0, 1), 0.9),
        "induction": scores((1, 2), 0.15),  # below what random weights have
        "on_text/previous_token": scores((0, 1), 0.7),
        "control/previous_token": scores((1, 0), 0.2),
        "control/induction": scores((1, 0), 0.2),
    }
    run.save("atlas/heads", HeadAtlas(parts))
    pairs = torch.full((2, 3, 2, 3), torch.nan)
    pairs[0, :, 1] = 0.05
    pairs[0, 1, 1, 2] = 0.5
    run.save("composition/K", PairScores(pairs, baseline=0.1))
    text = make_page(tmp_path).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("* **L0H1**")]
    assert "previous token 0.90 on random tokens (highest); previous token 0.70 on text (highest)" in line
    assert "read best by the keys of L1H2 (K-composition 0.50)" in line
    assert "**L1H2**" not in text
    assert "| previous token | L0H1 0.900 ± 0.010" in text
    assert "| 0.200 | 4 |" in text
    assert "not measured" in text  # the control on text


def test_a_folder_without_an_atlas_is_refused(make_page, tmp_path):
    create_run(tmp_path / "empty", model={"name": "none"})
    with pytest.raises(SystemExit, match="expected run directories of `headcount atlas`"):
        make_page(tmp_path)
