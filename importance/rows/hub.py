"""Rows from the Hugging Face Hub, from the data sets that lm-eval's own definitions name."""

from typing import Any

from headcount.importance.rows.definitions import TaskDefinition
from headcount.importance.rows.folder import RowCheck
from headcount.importance.rows.rows import HALVES, Rows, halves
from headcount.results import InputError

HUB = "hub"
"""The value of `data=` that takes rows from the Hub."""


def read_hub(definition: TaskDefinition, check: RowCheck) -> Rows:
    """Read the rows of a task on the Hub: the split that lm-eval scores, and the train split where there is one.

    Raises:
        InputError: The rows cannot be loaded from the Hub, or one is not what it should be.
    """
    names = [definition.scored, *([definition.train] if definition.train else [])]
    splits = {split: load_split(definition.hub, split) for split in names}
    place = f"{'/'.join(definition.hub)} on the Hub"
    rows = {
        split: [check(row, f"{place}, {split}, row {number}") for number, row in enumerate(split_rows, start=1)]
        for split, split_rows in splits.items()
    }
    source = {
        "source": "Hub",
        "dataset": definition.hub[0],
        "configuration": definition.hub[1] if len(definition.hub) > 1 else None,
        "revision": revision(splits[definition.scored]),
        "rows": {split: len(split_rows) for split, split_rows in rows.items()},
        "scored": definition.scored,
    }
    if definition.train:
        split = {"pool": definition.train, "split": "as on the Hub"}
        return Rows(rows[definition.scored], rows[definition.train], source | split)
    scored, pool = halves(rows[definition.scored], definition.fields)
    return Rows(scored, pool, source | {"pool": definition.scored, "split": HALVES})


def load_split(hub: tuple[str, ...], split: str) -> Any:
    """Load one split of a data set.

    Raises:
        InputError: It cannot be loaded from the Hub.
    """
    import datasets

    try:
        return datasets.load_dataset(*hub, split=split)
    except Exception as error:
        raise unreachable("/".join(hub), error) from error


def unreachable(name: str, error: Exception) -> InputError:
    """Return the error for rows that cannot be loaded from the Hub."""
    reason = " ".join(str(error).split())[:200]
    advice = "connect to it, or pass data=, a folder with the task's rows as JSON Lines"
    return InputError(f"cannot load the rows of {name} from the Hub ({type(error).__name__}: {reason}): {advice}")


def revision(dataset: Any) -> str | None:
    """Return the commit that a data set was loaded from; None if its download does not name one."""
    sources = dataset.info.download_checksums or {}
    commits = {source.split("@")[1].split("/")[0] for source in sources if source.startswith("hf://") and "@" in source}
    return commits.pop() if len(commits) == 1 else None
