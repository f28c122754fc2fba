"""Names of results: taken apart and put together again, every one that a study writes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headcount.results.names import MEANS, SCORES, ResultName, Setting, scored_part

FINDINGS = Path(__file__).parents[2] / "findings" / "smollm2"
WORDS = st.from_regex(r"[a-z]\w{0,9}", fullmatch=True)
TASKS = st.from_regex(r"[a-zA-Z0-9]\w{0,9}([.+-]\w{1,5}){0,2}", fullmatch=True) | st.sampled_from([*MEANS])
SETTINGS = st.builds(Setting, TASKS, st.integers(0, 99))
NAMES = st.one_of(
    st.builds(ResultName.induction, st.sampled_from([*SCORES, "repeat_loss"])),
    st.builds(ResultName.control, st.sampled_from(SCORES)),
    st.builds(ResultName.attention, WORDS),
    st.builds(ResultName.atlas),
    st.builds(ResultName.accuracy, SETTINGS),
    st.builds(ResultName.importance, st.sampled_from(["heads", "heads-oracle", "ffns"]), SETTINGS),
    st.builds(
        ResultName.curve,
        st.sampled_from(["heads", "ffns"]),
        SETTINGS,
        st.sampled_from(["own", "mean", "most", "least", "random", "recomputed"]),
    ),
    st.builds(ResultName.grid, SETTINGS),
    st.builds(
        ResultName.paths,
        st.integers(0, 99),
        st.integers(0, 99),
        st.sampled_from(["key", "query", "value"]),
        st.sampled_from(["direct", "total"]),
    ),
    st.builds(ResultName.composition, st.sampled_from("KQV")),
    st.builds(ResultName.analysis, st.sampled_from(["heads/correlations", "layers", "agreement"]), st.none()),
    st.builds(ResultName.analysis, st.sampled_from(["heads/correlations", "agreement"]), st.integers(0, 99)),
    st.builds(ResultName.capacity, st.sampled_from(SCORES), SETTINGS),
)


@given(name=NAMES)
def test_a_name_put_together_is_taken_apart_the_same(name: ResultName) -> None:
    assert ResultName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("induction/copying", ResultName("induction", "copying")),
        ("importance/heads/my.task.5shot", ResultName("importance/heads", setting=Setting("my.task", 5))),
        (
            "pruning/ffns/rank-mean.0shot.own",
            ResultName("pruning/ffns", setting=Setting("rank-mean", 0), ranking="own"),
        ),
        ("analyses/heads/order.1shot", ResultName("analyses", "heads/order", shots=1)),
        ("analyses/capacity/copying.mean.0shot", ResultName("analyses/capacity", "copying", Setting("mean", 0))),
        (
            "importance/gates-interfering/piqa.5shot",
            ResultName("importance/gates-interfering", setting=Setting("piqa", 5)),
        ),
        ("paths/L18H6-key-direct", ResultName.paths(18, 6, "key", "direct")),
        ("paths/L18H6", None),
        (
            "importance/heads-drop-5steps-mean/piqa.1shot",
            ResultName("importance/heads-drop-5steps-mean", setting=Setting("piqa", 1)),
        ),
        ("my/own/table", None),
        ("accuracy/piqa", None),
    ],
)
def test_names_taken_apart(text: str, expected: ResultName | None) -> None:
    assert ResultName.parse(text) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("gradient", "example"), "heads"),
        (("gradient", "drop"), "heads-drop"),
        (("gradient", "example", "mean"), "heads-example"),
        (("gradient", "drop", "zero", 5), "heads-drop-5steps"),
        (("oracle", "token"), "heads-oracle"),
        (("verified", "token", "mean", 1, 0.2), "heads-verified"),
        (("verified", "token", "zero", 2, 0.125), "heads-verified-share12_5-2steps"),
    ],
)
def test_settings_that_change_the_number_are_part_of_the_name(settings: tuple, expected: str) -> None:
    name = scored_part("heads", *settings)
    assert name == expected
    text = str(ResultName.importance(name, Setting("piqa", 0), settings[2] if len(settings) > 2 else "zero"))
    assert str(ResultName.parse(text)) == text


def test_every_name_of_an_old_run_is_known() -> None:
    files = [path for path in FINDINGS.rglob("*") if path.suffix in (".json", ".safetensors")]
    names = {path.relative_to(FINDINGS).as_posix().removesuffix(path.suffix) for path in files} - {"manifest"}
    assert len(names) > 100
    assert all(str(ResultName.parse(name)) == name for name in names)


def test_settings_in_words_and_in_order() -> None:
    settings = [Setting("piqa", 1), Setting("arc_easy", 0), Setting("rank-mean", 0), Setting("mean", 0)]
    titles = [setting.title for setting in sorted(settings, key=lambda setting: setting.order)]
    assert titles == ["mean over tasks, 0 shots", "mean rank over tasks, 0 shots", "arc_easy, 0 shots", "piqa, 1 shot"]
    assert Setting.parse("piqa") is None


def test_a_kind_of_ablation_is_part_of_a_name_where_it_changes_the_number():
    setting = Setting("piqa", 5)
    for name, text in (
        (ResultName.importance("ffns", setting, "mean"), "importance/ffns-mean/piqa.5shot"),
        (ResultName.importance("heads-oracle", setting, "patch"), "importance/heads-oracle-patch/piqa.5shot"),
        (ResultName.curve("kv_groups", setting, "mean", "resample"), "pruning/kv_groups-resample/piqa.5shot.mean"),
        (ResultName.grid(setting, "mean"), "pruning/grid-mean/piqa.5shot"),
    ):
        assert str(name) == text
        assert ResultName.parse(text) == name
        assert name.ablation == text.partition("/")[2].partition("/")[0].rpartition("-")[2]
    for text in (
        "importance/heads-oracle/piqa.5shot",
        "pruning/grid/piqa.5shot",
        "accuracy/piqa.5shot",
        "causes/zero/a.0shot",
    ):
        assert ResultName.parse(text).ablation == "zero"
    assert ResultName.importance("ffns", setting, "zero") == ResultName.importance("ffns", setting)
