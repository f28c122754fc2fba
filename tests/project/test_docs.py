"""The names and paths that the docs mention are there."""

import re
from pathlib import Path
from pkgutil import resolve_name

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")
]
TEXTS += [
    *sorted((ROOT / "findings").glob("*/README.md")),
    ROOT / "headcount/tracing/tiny_opt/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
texts = pytest.mark.parametrize("path", TEXTS, ids=[path.relative_to(ROOT).as_posix() for path in TEXTS])
MADE = {"runs", "build", "dist"}  # folders that commands make
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - MADE
INSIDE = {path.name for path in (ROOT / "headcount").iterdir() if path.is_dir()}
NAME = re.compile(r"(?<![\w/.\-])(?:headcount|hc)((?:\.[A-Za-z_]\w*)+)(?![\w/*])")
QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
CODE_FILE = re.compile(r"[\w-]+\.(py|html|js|css|tsv|ipynb)")
DATA_FILE = re.compile(r"[\w-]+\.(toml|md|png|yaml|safetensors)")
LINKED = ("induction", "importance", "viz")
RESULTS = ("importance", "induction")  # folders of runs, too
EVERY_FILE = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
NOT_HERE = {"report.html", "over_training.html", "tiny.html", "heads.html"}  # files that a user makes


def current(path):
    """The text of a page: of the changelog, its table's right-hand column; of recipes, all but the code of examples."""
    text = path.read_text(encoding="utf-8")
    if path.name == "CHANGELOG.md":
        return "\n".join(line.split("|")[2] for line in text.splitlines() if line.startswith("  | "))
    if path.name == "CONTRIBUTING.md":
        return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return text


def names_in(text):
    """The dotted names below `headcount` or `hc`, without placeholders such as headcount.ROOM."""
    names = {match.group(1).lstrip(".") for match in NAME.finditer(text)}
    return {name for name in names if not name.partition(".")[0].isupper() and name != "json"}  # not a file


@texts
def test_every_dotted_name_is_there(path):
    for name in names_in(current(path)):
        assert resolve_name(f"headcount.{name}") is not None


@texts
def test_every_path_of_the_repository_is_there(path):
    words = {word for quoted in QUOTED.findall(current(path)) for word in quoted.split()}
    missing = [word for word in sorted(words) if PATH.fullmatch(word) and is_missing(word)]
    assert missing == []


def is_missing(word):
    """True for a path below a folder of the repository, or a code file, that is not there."""
    if re.search(r"NAME|MODEL|TASK|DIR", word) or word in NOT_HERE:
        return False
    first, _, rest = word.partition("/")
    last = word.rpartition("/")[2]
    is_file = CODE_FILE.fullmatch(last) or (first in FOLDERS | INSIDE and DATA_FILE.fullmatch(last))
    if rest and (is_file or (first in FOLDERS and first not in RESULTS)):
        return not (ROOT / word).exists()
    return CODE_FILE.fullmatch(word) is not None and word not in EVERY_FILE


@texts
def test_every_link_leads_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[\w-]+)?\)", path.read_text(encoding="utf-8")):
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            assert anchor[1:] in anchors(page), f"{target}{anchor}"


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_name_in_the_notebooks_is_there():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        for name in names_in(text):
            assert resolve_name(f"headcount.{name}") is not None, path


def test_every_name_in_the_code_is_there():
    """Names in docstrings, comments and messages."""
    files = [path for room in ("headcount", *LINKED, "benchmarks") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 150
    for path in files:
        for name in {name for quoted in QUOTED.findall(path.read_text(encoding="utf-8")) for name in names_in(quoted)}:
            assert resolve_name(f"headcount.{name}") is not None, path


def test_a_missing_path_is_seen():
    assert is_missing("tests/tracing/test_nothing.py")
    assert is_missing("tracing/families.py")
    assert is_missing("nothing_of_this_name.py")
    assert not is_missing("tests/tracing")
    assert not is_missing("importance/heads")  # the name of a result
    assert not is_missing("/shared/run")
