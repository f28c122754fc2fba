"""Settings that every test shares."""

import os

# Two threads stall at barriers on the tiny tensors of most tests, and with a worker on every core, so do those of a
# process that a test starts. Before torch, which reads it once.
os.environ["OMP_NUM_THREADS"] = "1"
# The same with a network and without: nothing is asked of the Hub. Before huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

import beartype  # noqa: F401 - must come before nnsight, which mounts a method on every object
import pytest
from jaxtyping import install_import_hook

# Shapes and types in signatures are checked on the modules that are pure mathematics. (nnsight reads the source of
# `with` blocks, and of what goes to a server, so modules that open a trace or travel stay as they are.)
PURE = [f"headcount.induction.formulas.{name}" for name in ("attention_statistics", "prefix_matching")]
PURE += ["headcount.induction.tokens.sequences", "headcount.stats.ranks", "headcount.stats.resampling"]
install_import_hook(PURE, "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are shared out among the cores in order: those that take minutes come first, so that none is left alone."""
    slow = ("test_notebooks.py", "test_readme.py", "test_study.py", "test_clusters.py", "test_acceptance.py")
    slow += ("test_attention_in_browser.py", "test_flops.py", "test_report_of_studies.py", "test_server.py")
    slow += ("test_true_sizes.py", "test_lm_eval_adapter.py", "test_report_in_browser.py", "test_second_run.py")
    slow += ("test_importance_in_browser.py", "test_tiny_opt_needs.py", "test_cli.py", "test_zoo.py")
    items.sort(key=lambda item: item.path.name not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """On a continuous-integration machine everything that a test needs is installed: a skip there is a failure."""
    report = yield
    if os.environ.get("CI") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report
