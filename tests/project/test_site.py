"""The documentation's site: every page is in its navigation, and the code of the how-tos runs.

`make docs` builds it strictly, with every link and every name of the reference checked.
"""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml
from support.headcount_runs import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
    """YAML as mkdocs reads it."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
CONFIG = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
WITH_CODE = [DOCS / "index.md", *sorted((DOCS / "how_to").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def pages(entries):
    """Yield the pages of a navigation."""
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation_once_and_there():
    source = (DOCS / "site" / "hooks.py").read_text(encoding="utf-8")
    outside = dict(re.findall(r'^    "([\w/.]+)": "([\w.]+)",$', source, re.MULTILINE))
    assert len(outside) == 5
    assert all((ROOT / path).is_file() for path in outside)
    listed = sorted(pages(CONFIG["nav"]))
    there = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert listed == sorted([*there, *outside.values()])


@pytest.mark.parametrize("path", WITH_CODE, ids=[path.stem for path in WITH_CODE])
def test_the_code_of_a_page_runs(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    code = Path("page.py")  # a file, since what runs on a server is read from its source
    code.write_text("\n".join(block for language, block in blocks if language == "python"), encoding="utf-8")
    runpy.run_path(str(code))
    commands = [line.partition(" #")[0] for language, block in blocks if not language for line in block.splitlines()]
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "headcount" and not any(word.startswith("hf://") for word in arguments):
            status, _, err = run(capsys, *arguments)
            assert status == 0, err
