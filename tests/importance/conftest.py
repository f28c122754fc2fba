"""The real rows of the sixteen tasks, which lie beside the repository and are not part of it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_rows():
    folder = Path(os.environ.get("HEADCOUNT_TEST_TASKS") or Path(__file__).parents[2].parent / "shared" / "tasks")
    if not folder.is_dir():
        pytest.skip(f"no real task rows at {folder}: set HEADCOUNT_TEST_TASKS to their folder")
    return folder
