"""The commands and the example of the README work, and print what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headcount.cli.app import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("headcount ")]


def run(command, folder):
    programs = Path(sys.executable).parent
    result = subprocess.run([programs / command[0], *command[1:]], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_example_prints_what_the_readme_says(tmp_path):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    (tmp_path / "example.py").write_text(code)
    printed = run(["python", "example.py"], tmp_path)
    expected = heads_in(re.search(r"# (\[\(18, 6.*\])", code).group(1))
    heads = heads_in(printed)
    assert [head[:2] for head in heads] == [head[:2] for head in expected]
    assert [head[2] for head in heads] == pytest.approx([head[2] for head in expected], abs=0.002)
    assert (tmp_path / "heads.html").stat().st_size > 1000


def heads_in(text):
    """The heads and scores in a text: (layer, head, value)."""
    triples = re.findall(r"\((\d+), (\d+), ([\d.]+)\)", text)
    return [(int(layer), int(head), float(value)) for layer, head, value in triples]


def test_every_command_in_the_readme_runs(tmp_path, monkeypatch):
    """The first runs as a program; the others run in this process, to import only once."""
    assert len(COMMANDS) >= 4
    run(shlex.split(COMMANDS[0]), tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS[1:]:
        main(shlex.split(command)[1:])
    assert (tmp_path / "tiny.html").is_file()


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) < 150
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_has_the_two_commands_that_the_readme_names():
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE)
