"""The shape of the code: no import circle, modules and functions of a readable size, plain words."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ("headcount", "induction", "importance", "viz")
FILES = sorted(path for room in (*PACKAGE, "benchmarks", "findings") for path in (ROOT / room).rglob("*.py"))
MODULE_LINES, FUNCTION_LINES, FOLDER_FILES = 400, 40, 13
QUESTIONS = re.compile(r"(What|Whether|Which|Where|Who|Whose|How|When|Why)\b")
ENTRY = re.compile(rf"\s+\*{{0,2}}\w+( \([^)]*\))?: {QUESTIONS.pattern}")  # of Args, Attributes or Returns
VAGUE = ("found", "one", "asked", "said")
MOST_VAGUE = 10
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path, node=None):
    """The file, and the line if there is one, for a message."""
    return f"{path.relative_to(ROOT)}:{node.lineno}" if node else str(path.relative_to(ROOT))


def circles(graph):
    """Groups of modules that import one another: strongly connected components, by Tarjan's algorithm."""
    order, low, stack, groups = {}, {}, [], []

    def visit(module):
        order[module] = low[module] = len(order)
        stack.append(module)
        for imported in sorted(graph[module]):
            if imported not in order:
                visit(imported)
            if imported in stack:
                low[module] = min(low[module], low[imported])
        if low[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in sorted(graph):
        if module not in order:
            visit(module)
    return groups


def test_the_search_finds_circles_and_nothing_else():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"f"}, "f": {"e"}, "g": {"a", "f"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["e", "f"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_one_another():
    """Imports for type checkers only and imports inside functions are counted, too."""
    graph = grimp.build_graph("headcount", cache_dir=None)
    assert {"headcount.viz", "headcount.induction.measure", "headcount.tracing.model"} <= graph.modules
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert circles(imports) == []


def test_every_module_is_seen():
    assert len(FILES) > 150
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == {*PACKAGE, "benchmarks", "findings"}
    assert len({path.resolve() for path in FILES}) == len(FILES)


def test_modules_are_short():
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_are_short():
    """Lines of the body, nested functions included, without signature and docstring."""
    long = {}
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > FUNCTION_LINES:
                    long[f"{place(path, node)} {node.name}"] = lines
    assert long == {}


def test_folders_hold_a_dozen_files():
    counts = Counter(path.parent for path in FILES)
    assert {place(folder): count for folder, count in counts.items() if count > FOLDER_FILES} == {}


def docstrings():
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield path, node.body[0], text


def test_docstrings_open_with_a_verb_or_a_noun():
    """A docstring is no question: "Return the ...", "Scores of ...", "True if ..." in place of "Whether ..."."""
    openings = {place(path, node): text.strip().splitlines()[0] for path, node, text in docstrings()}
    questions = [f"{where} {opening}" for where, opening in openings.items() if QUESTIONS.match(opening)]
    assert not questions, "\n".join(questions)


def test_entries_of_docstrings_open_with_a_noun():
    questions = [
        f"{place(path, node)} {line.strip()}"
        for path, node, text in docstrings()
        for line in text.splitlines()
        if ENTRY.match(line)
    ]
    assert not questions, "\n".join(questions)


@pytest.mark.parametrize("word", VAGUE)
def test_variables_say_what_they_hold(word):
    """Assigned names and loop variables are nouns of the field."""
    places = [
        place(path, node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == word
    ]
    assert len(places) <= MOST_VAGUE, "\n".join(places)
