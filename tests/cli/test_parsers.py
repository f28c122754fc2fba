"""Parsers of what people write, on arbitrary input: they read it, or refuse it in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headcount.importance import load_task
from headcount.planning.hardware import KEYS
from headcount.results import InputError
from headcount.study import PRESETS, StudyConfig, parse_config
from headcount.tracing.streaming.memory import as_bytes

LITTLE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))
TOML = st.sampled_from(
    ["1", "-1", "0.5", "nan", "-inf", "true", '""', '"x"', "[]", "[1, -2]", "[[1]]", "{a = 1}", "1979-05-27", "9" * 30]
)
KEY = st.sampled_from([*StudyConfig.model_fields, "names", "shots", "limit", "grid", "a.b", '"quoted key"', *KEYS])


def complaint(read: Callable[[], object]) -> str | None:
    """Return the one line with which an input is refused; None if it is read."""
    try:
        read()
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - it may be read as well
        return str(error)
    return None


@LITTLE
@given(st.text())
def test_any_text_as_a_configuration(text: str) -> None:
    assert complaint(lambda: parse_config(text, "mine.toml")).startswith("mine.toml")


@LITTLE
@given(st.lists(st.tuples(KEY, TOML), max_size=4), st.lists(st.tuples(KEY, TOML), max_size=3))
def test_any_settings_in_a_configuration(top: list, of_tasks: list) -> None:
    lines = [f"{key} = {value}" for key, value in top] + ["[[tasks]]"] + [f"{key} = {value}" for key, value in of_tasks]
    found = complaint(lambda: parse_config("\n".join(lines), "mine.toml"))
    assert found is None or found.startswith("mine.toml")


@LITTLE
@given(st.sampled_from(PRESETS), st.data())
def test_a_configuration_cut_and_changed_anywhere(preset: str, data: st.DataObject) -> None:
    import headcount

    text = (Path(headcount.__file__).parent / "study" / "presets" / f"{preset}.toml").read_text(encoding="utf-8")
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    found = complaint(lambda: parse_config(text[:start] + data.draw(st.text(max_size=5)) + text[end:], "mine.toml"))
    assert found is None or found.startswith("mine.toml")


@LITTLE
@given(st.binary(max_size=60) | JSON.map(lambda row: json.dumps(row).encode()))
def test_any_line_as_a_row(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "mine.jsonl").write_bytes(line)
    assert "mine.jsonl" in complaint(lambda: load_task("mine", data=tmp_path))


@LITTLE
@given(
    st.fixed_dictionaries(
        {"context": JSON, "choices": st.lists(JSON, max_size=3), "gold": JSON}, optional={"shot": JSON}
    )
)
def test_any_values_in_a_row(tmp_path: Path, row: dict) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    found = complaint(lambda: load_task("mine", data=tmp_path).documents(0))
    assert found is None or "mine.jsonl, line 1" in found


@LITTLE
@given(st.text(max_size=12) | st.floats().map(str) | st.integers().map(lambda size: f"{size}GiB"))
def test_any_size_of_memory(text: str) -> None:
    found = complaint(lambda: as_bytes(text))
    assert found is None or "memory" in found


@pytest.mark.parametrize("row", ['{"context": "a \\ud83d", "choices": [" b"], "gold": 0}', '{"\\udc00": 1}'])
def test_half_a_letter_is_no_text(tmp_path: Path, row: str) -> None:
    (tmp_path / "mine.jsonl").write_text(row)
    with pytest.raises(InputError, match=r"mine.jsonl, line 1: expected text, but it holds half of a letter"):
        load_task("mine", data=tmp_path)


def test_both_halves_of_a_letter_are_one(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"context": "\\ud83d\\ude42", "choices": [" b"], "gold": 0}')
    assert load_task("mine", data=tmp_path).documents(0)[0].requests[0].context == "🙂"
