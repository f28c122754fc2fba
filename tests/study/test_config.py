"""Configurations of studies: presets, defaults, and errors that name the line."""

import pytest

from headcount.results import InputError
from headcount.study import PRESETS, parse_config, read_config

TASKS = '[[tasks]]\nnames = ["piqa"]\n'


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_configuration(preset):
    assert read_config(preset=preset).tasks


def test_the_papers_preset_is_the_papers():
    paper = read_config(preset="paper")
    assert (paper.model, paper.dtype, paper.sequences) == ("facebook/opt-66b", "float16", 100)
    assert (paper.profile, paper.prefix_definition, paper.reduction) == ("paper", "published", "token")
    assert (paper.examples, paper.seed) == (2500, 0)
    seen, unseen = paper.tasks
    assert (len(seen.names), seen.shots, seen.unseen) == (14, [0, 1, 5], False)
    assert (unseen.names, unseen.shots, unseen.unseen) == (["mathqa", "lambada_openai"], [0, 1, 5], True)
    assert paper.grid_head_percents == [10, 20, 30, 40, 50, 60, 70]
    assert paper.grid_ffn_percents == [10, 20, 30, 40, 50]


def test_what_is_left_out_has_a_default():
    study = parse_config(TASKS, "mine.toml")
    assert (study.model, study.sequences, study.tasks[0].shots, study.tasks[0].limit) == ("smollm2-135m", 100, [0], 100)
    assert study.reduction == "example"
    assert read_config(preset="smollm2").reduction == "token"  # that of findings/smollm2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seqences = 3\n" + TASKS, "mine.toml, line 1: there is no setting 'seqences'; expected one of model"),
        ('\nsequences = "x"\n' + TASKS, "line 2: sequences: .*got 'x'"),
        (TASKS + "\n[[tasks]]\nnames = ['copa']\nlimits = 3\n", "line 6: there is no setting 'tasks.1.limits'"),
        (TASKS + "shots = [1, -2]\n", "line 3: tasks.0.shots.1: .*got -2"),
        (TASKS + "grid = 'yes please'\n", "line 3: tasks.0.grid"),
        (TASKS + "shots = [0, 5]\ncauses = true\n", "line 1: tasks.0: .*causes and rank need 2 shots or more"),
        ("cause_kinds = ['attention']\n" + TASKS, "line 1: cause_kinds.0: .*'function_vector'.*got 'attention'"),
        ("cause_seeds = [1]\n" + TASKS, "line 1: cause_seeds"),
        ("head_percents = [10, 120]\n" + TASKS, "line 1: head_percents.1"),
        ("profile = 'mine'\n" + TASKS, "line 1: profile"),
        ("[[tasks]]\nshots = [0]\n", "tasks.0.names is missing"),
        ("[[tasks]]\nnames = []\n", "line 2: tasks.0.names"),
        ("seed = 1\n", "tasks is missing"),
        ("x = \n", "mine.toml: Invalid value \\(at line 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message):
    with pytest.raises(InputError, match=message):
        parse_config(text, "mine.toml")


def test_a_file_or_a_preset_is_needed_and_not_both(tmp_path):
    with pytest.raises(InputError, match="got neither"):
        read_config()
    with pytest.raises(InputError, match="got both"):
        read_config(tmp_path / "x.toml", "quick")
    with pytest.raises(InputError, match="--preset must be one of quick, paper, smollm2"):
        read_config(preset="slow")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "binary.toml")
