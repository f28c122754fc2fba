"""`report` without a run: the quick study of the default model, and its page, in one command."""

from pathlib import Path

import torch
from support.headcount_runs import run

from headcount.cli.commands import results
from headcount.results import HeadScores, create_run


def test_without_a_run_the_quick_study_is_measured_first(capsys, tmp_path, monkeypatch):
    studies = []

    def study(*, target, preset):
        studies.append((target.out, target.model, preset))
        made = create_run(target.out, model={"name": "a model"})
        made.save("induction/prefix_matching", HeadScores(torch.rand(2, 3), measure="prefix_matching"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "study", study)
    status, out, err = run(capsys, "report")
    assert (status, err) == (0, "")
    assert out.startswith("report.html (")
    assert studies == [(Path("runs/smollm2-135m"), None, "quick")]
    assert "a model" in Path("report.html").read_text()
    run(capsys, "report", studies[0][0], "--output", "again.html")
    assert len(studies) == 1
    assert Path("again.html").exists()
