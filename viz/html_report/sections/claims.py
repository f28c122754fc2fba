"""The section on the paper's claims: the verdict on each, and its evidence."""

from collections.abc import Mapping
from typing import Any

from headcount.results import Result
from headcount.viz.html_report.analysis_tables import analysis

COLUMNS = ("claim", "criterion", "verdict", "evidence", "published")


def claim_rows(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Return the rows of the table of claims; none if the run has no study."""
    return analysis(results, "claims", COLUMNS)
