"""The attention of every head on a prompt is recorded once, and left out where no prompt can be written."""

import pytest
from reference.models import bpe_tokenizer, opt

from headcount.induction.tokens import prompts
from headcount.progress import Progress
from headcount.results import InputError, create_run
from headcount.study import measure_units
from headcount.study.unit import ImpossibleError
from headcount.study.units.induction import attention_unit
from headcount.tracing import load_model


def test_without_a_tokenizer_prompts_are_left_out_with_a_message(tmp_path, capsys):
    model = load_model(opt())
    units = [attention_unit(model, name, 0) for name in prompts.PROMPTS]
    with pytest.raises(ImpossibleError, match="has no tokenizer"):
        units[0].measure(Progress(1))
    run = create_run(tmp_path / "run", model={"name": "m"})
    assert measure_units(units, run) == []
    assert "attention of every head, text: left out, since" in capsys.readouterr().err


def test_a_prompt_is_recorded_once_and_for_another_seed_if_that_is_said(tmp_path):
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    run = create_run(tmp_path / "run", model={"name": "m"})
    assert measure_units([attention_unit(model, "text", 0)], run) == ["attention/text"]
    assert measure_units([attention_unit(model, "text", 0)], run) == []
    with pytest.raises(InputError, match="attention/text with seed = 0, and 1 is requested"):
        measure_units([attention_unit(model, "text", 1)], run)
    assert measure_units([attention_unit(model, "text", 1)], run, replace=True) == ["attention/text"]
    assert len(run["attention/text"].tokens) <= prompts.LONGEST
