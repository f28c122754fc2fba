"""The results of a run that the report shows, and their order."""

from pathlib import Path

import pytest

from headcount.results import HeadScores, InputError, LayerScores, Run, Setting, create_run
from headcount.viz.contents import read_contents


def test_means_come_first_at_each_number_of_shots(needs_run: Run) -> None:
    contents = read_contents(needs_run)
    assert [str(setting) for setting in contents.heads] == [
        *("mean.0shot", "rank-mean.0shot", "piqa.0shot", "wic.0shot"),
        *("mean.5shot", "rank-mean.5shot", "piqa.5shot", "wic.5shot"),
    ]
    assert [str(setting) for setting in contents.ffns if not setting.shots] == [
        "mean.0shot",
        "rank-mean.0shot",
        "piqa.0shot",
        "wic.0shot",
    ]
    assert [str(setting) for setting in contents.accuracy if not setting.shots] == ["piqa.0shot", "wic.0shot"]
    assert contents.complete
    assert contents.shape == (30, 9)


@pytest.mark.parametrize(
    ("task", "shots", "title"),
    [
        ("piqa", 0, "piqa, 0 shots"),
        ("piqa", 1, "piqa, 1 shot"),
        ("mean", 25, "mean over tasks, 25 shots"),
        ("rank-mean", 5, "mean rank over tasks, 5 shots"),
    ],
)
def test_a_setting_has_a_title_in_words(task: str, shots: int, title: str) -> None:
    assert Setting(task, shots).title == title


def test_shots_are_ordered_as_numbers_and_other_names_left_alone(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    for name in ("a.25shot", "a.5shot", "my.own.5shot", "noshots", "deeper/a.5shot"):
        run.save(f"importance/heads/{name}", HeadScores([[1]]))
    contents = read_contents(run)
    assert [str(setting) for setting in contents.heads] == ["a.5shot", "my.own.5shot", "a.25shot"]
    assert len(contents.results) == 5
    assert not contents.complete


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("importance/heads/a.0shot", LayerScores([1]), "heads/a.0shot in .*: expected HeadScores, got LayerScores"),
        ("importance/ffns/a.0shot", HeadScores([[1]]), "ffns/a.0shot in .*: expected LayerScores, got HeadScores"),
        ("accuracy/a.0shot", LayerScores([1]), "accuracy/a.0shot in .*: expected Accuracy, got LayerScores"),
        ("importance/heads/a.0shot", HeadScores([[1]]), r"of one shape .*, got \[1, 1\], \[3, 2\]; measure again"),
        ("importance/ffns/a.0shot", LayerScores([1]), r"of one model, got \[1\], \[3, 2\]; measure again"),
    ],
)
def test_results_that_do_not_belong_are_refused(
    tmp_path: Path, name: str, result: HeadScores | LayerScores, message: str
) -> None:
    run = create_run(tmp_path / "run", model={"name": "tiny"})
    run.save("induction/copying", HeadScores([[1, 2]] * 3))
    run.save(name, result)
    with pytest.raises(InputError, match=message):
        read_contents(run)
