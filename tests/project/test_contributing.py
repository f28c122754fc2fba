"""The recipes of CONTRIBUTING.md, followed in a copy of the package."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ("induction/", "importance/", "viz/")
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^ *```(?:python|text|html)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
BLOCKS = [textwrap.dedent(block).partition("\n") for block in FENCED.findall(TEXT)]
CODE = {first.strip("# "): code for first, _, code in BLOCKS}  # by the file that the first line names

FAMILIES = "headcount/tracing/architectures/families.py"
MODELS = "tests/reference/models.py"
RAW_HOOKS = "tests/reference/raw_hooks.py"
TASKS = "importance/tasks/catalogue.py"
DETECTORS = "induction/formulas/head_detectors.py"
REFERENCE = "tests/reference/atlas.py"
PAGE = "viz/html_report/page.py"
# The sentences of the recipes: a text of a file, and what takes its place; {code} is the block for that file.
EDITS = [
    (FAMILIES, "FAMILIES = (", "{code}\nFAMILIES = (ARCEE, "),
    (MODELS, "    AutoModelForCausalLM,\n", "    ArceeConfig,\n    AutoModelForCausalLM,\n"),
    (MODELS, "BUILDERS: dict", "{code}\n\nBUILDERS: dict"),
    (MODELS, "in (opt,", "in (arcee, opt,"),
    (RAW_HOOKS, "LAYOUTS = {", '{code}LAYOUTS = {"arcee": ARCEE, '),
    (TASKS, "WORD_LISTS = (", 'WORD_LISTS = ("colour", '),
    (DETECTORS, "DETECTORS = (\n", "{code}\n\nDETECTORS = (\n    offset_three,\n"),
    (REFERENCE, "SCORES = {\n", "{code}\n\nSCORES = {\n"),
    (REFERENCE, "        offset_two,\n", "        offset_two,\n        offset_three,\n"),
    (PAGE, "    learning,\n    prov", "    learning,\n    previous_token,\n    prov"),
    (
        PAGE,
        "        pruning.curves(results),",
        "        previous_token.previous_token_heads(results),\n        pruning.curves(results),",
    ),
]
PROGRAM = """
import sys

import headcount as hc
from headcount.cli import main
from reference import atlas as reference_atlas
from reference import raw_hooks
from reference.models import BUILDERS, bpe_tokenizer

model = hc.load_model(BUILDERS["arcee"]().requires_grad_(False), tokenizer=bpe_tokenizer())
tokens = hc.repeated_tokens(model, period=6, n_sequences=2)
_, cache = model.run_with_cache(tokens)
expected = raw_hooks.read(model.hf, tokens)
errors = [(cache[name] - values).abs().max() / values.abs().max().clamp_min(1) for name, values in expected.items()]
print("architecture", hc.prefix_matching(model, tokens, period=6).shape, len(errors), float(max(errors)) < 1e-5)

task = hc.load_task("colour")
print("task", len(task.examples(shots=1, limit=2)))

toy = hc.load_model("tiny-opt")
tokens = hc.repeated_tokens(toy, 10)
atlas = hc.head_atlas(toy, sequences=tokens, text=tokens, control=False)
expected = reference_atlas.scores(toy.hf, tokens[0])["offset_three"]
print("score", float((atlas.offset_three.values - expected).abs().max()) < 1e-6)

detectors = ["--no-control", "--detectors", "three_back.py"]
main(["atlas", "--model", "tiny-opt", "--sequences", "1", *detectors, "--out", sys.argv[1]])
atlas = hc.open_run(sys.argv[1])["atlas/heads"]
same = [(part.three_back.values - part.offset_three.values).abs().max() for part in (atlas, atlas.on_text)]
print("detector", atlas.three_back.definition.replace(" ", "_"), float(max(same)) < 0.05)
main(["report", sys.argv[1], "--output", sys.argv[1] + ".html"])
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package, and of the models that tests build, with all recipes followed."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("headcount", "tests/reference"):  # links become folders
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in EDITS:
        path = place(root, name)
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new.replace("{code}", CODE.get(name, ""))), encoding="utf-8")
    for name, code in CODE.items():
        path = place(root, name)
        before = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
        if code not in before:
            path.write_text(before + code, encoding="utf-8")
    return root


def place(root, name):
    """The file of a repository path in the copy, where the linked rooms are folders of the package."""
    return root / "headcount" / name if name.startswith(LINKED) else root / name


@pytest.fixture(scope="module")
def printed(copy, tmp_path_factory):
    """The lines that a program prints that uses all additions, by their first word; and the report, as `page`."""
    run = tmp_path_factory.mktemp("run") / "toy"
    environment = {"PYTHONPATH": f"{copy}:{copy / 'tests'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(run)]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    return lines | {"page": Path(f"{run}.html").read_text(encoding="utf-8")}


def test_an_architecture(printed):
    assert printed["architecture"] == "(3, 4) 43 True"


def test_a_task(printed):
    assert printed["task"] == "2"


def test_a_score_of_heads(printed):
    assert printed["score"] == "True"
    assert printed["detector"] == "Attention_to_the_token_three_positions_back True"
    assert "Three back, on text" in printed["page"]


def test_a_section_of_the_report(printed):
    page = printed["page"]
    assert '<a href="#previous-token">Previous-token heads</a>' in page
    assert '<section id="previous-token"' in page
    assert 'data-figure="previous-token/0"' in page
    assert '<th scope="row">L0H0</th>' in page.partition('<section id="previous-token"')[2]
