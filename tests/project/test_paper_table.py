"""The results, calls, sections and counts that docs/paper.md names are there."""

import re
from pathlib import Path

import pytest
import torch
from reference.models import bpe_tokenizer
from support.synthetic_runs import add_importance, make_run
from support.synthetic_studies import add_study
from transformers import OPTConfig, OPTForCausalLM

from headcount import viz
from headcount.results import create_run
from headcount.stats import compare
from headcount.study import load_tasks, parse_config, study_units
from headcount.tracing import load_model, removed_parameters

TEXT = Path("docs/paper.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in TEXT.splitlines() if re.match(r"\|.*\|.*\|.*\|", line)][2:]
CONFIG = """
[[tasks]]
names = ["plural", "past_tense", "letter_case"]
shots = [0, 1, 5]
random = true
grid = true
recomputed = true

[[tasks]]
names = ["antonym"]
shots = [0, 1, 5]
unseen = true
"""


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The names of all results of a study."""
    shape = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16, "ffn_dim": 32}
    tokenizer = bpe_tokenizer()
    hf = OPTForCausalLM(OPTConfig(vocab_size=len(tokenizer), word_embed_proj_dim=16, **shape)).eval()
    model = load_model(hf, tokenizer=tokenizer)
    run = create_run(tmp_path_factory.mktemp("paper") / "run", model={"name": "opt"})
    config = parse_config(CONFIG, "test")
    return {name for unit in study_units(model, run, config, load_tasks(config)) for name in unit.names}


def test_every_result_that_is_named_is_measured_by_a_study(units):
    named = re.findall(r"`([a-z]+/[^`]+)`", TEXT)
    assert len(named) > 30
    for name in named:
        pattern = re.escape(name).replace("Kshot", r"\d+shot").replace(r"/T\.", r"/\w+\.").replace(r"\.T\.", r"\.\w+\.")
        assert any(re.fullmatch(pattern, unit) for unit in units), name


def test_every_call_is_there():
    calls = {row[2].strip(" `") for row in ROWS}
    assert len(calls) > 5
    for call in calls:
        room, name = call.split(".")
        assert callable(getattr({"viz": viz, "compare": compare}[room], name)), call


def test_every_section_is_in_the_report_of_a_study(tmp_path):
    run = add_importance(make_run(tmp_path / "run", 6, 4), 6, 4, ("piqa", "copa"), (0, 1, 5))
    page = viz.report(add_study(run, 6, 4, ("piqa", "copa"), (0, 1, 5)), tmp_path / "report.html").read_text("utf-8")
    for section in {row[3].strip(" `") for row in ROWS}:
        assert f'<section id="{section}"' in page, section


def test_the_counts_are_those_of_opt_66b():
    shape = {"hidden_size": 9216, "num_attention_heads": 72, "ffn_dim": 36864, "num_hidden_layers": 64}
    with torch.device("meta"):
        hf = OPTForCausalLM(OPTConfig(vocab_size=50272, word_embed_proj_dim=9216, **shape))
    model = load_model(hf)
    heads = [divmod(index, 72) for index in range(64 * 72 * 70 // 100)]
    assert f"{len(heads):,} of {64 * 72:,} and {removed_parameters(model, heads=heads).heads:,} parameters" in TEXT
    assert f"{removed_parameters(model, ffns=[0]).ffns:,}" in TEXT
