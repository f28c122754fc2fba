"""Rows from the Hugging Face Hub, as lm-eval's own definitions name them."""

from typing import Any

from headcount.importance.rows.definitions import Definition
from headcount.importance.rows.folder import Check
from headcount.importance.rows.rows import HALVES, Rows, halves
from headcount.results import InputError

HUB = "hub"  # what a person passes for a folder to take rows from there


def read_hub(definition: Definition, check: Check) -> Rows:
    """The rows of a task on the Hub: the split that lm-eval scores, and the train split where there is one.

    Raises:
        InputError: The Hub does not give them, or a row is not what it should be.
    """
    wanted = [definition.scored, *([definition.train] if definition.train else [])]
    splits = {split: load_split(definition.hub, split) for split in wanted}
    place = f"{'/'.join(definition.hub)} on the Hub"
    rows = {
        split: [check(row, f"{place}, {split}, row {number}") for number, row in enumerate(found, start=1)]
        for split, found in splits.items()
    }
    source = {
        "source": "Hub",
        "dataset": definition.hub[0],
        "configuration": definition.hub[1] if len(definition.hub) > 1 else None,
        "revision": revision(splits[definition.scored]),
        "rows": {split: len(found) for split, found in rows.items()},
        "scored": definition.scored,
    }
    if definition.train:
        split = {"pool": definition.train, "split": "as on the Hub"}
        return Rows(rows[definition.scored], rows[definition.train], source | split)
    scored, pool = halves(rows[definition.scored], definition.fields)
    return Rows(scored, pool, source | {"pool": definition.scored, "split": HALVES})


def load_split(hub: tuple[str, ...], split: str) -> Any:
    """One split of a data set.

    Raises:
        InputError: The Hub does not give it.
    """
    import datasets

    try:
        return datasets.load_dataset(*hub, split=split)
    except Exception as error:
        raise unreachable("/".join(hub), error) from error


def unreachable(what: str, error: Exception) -> InputError:
    """The error for rows that the Hub did not give."""
    reason = " ".join(str(error).split())[:200]
    advice = "connect to it, or pass data=, a folder with the task's rows as JSON Lines"
    return InputError(f"the Hub does not give the rows of {what} ({type(error).__name__}: {reason}): {advice}")


def revision(dataset: Any) -> str | None:
    """The commit that a data set was loaded from, if its download says so."""
    sources = dataset.info.download_checksums or {}
    found = {source.split("@")[1].split("/")[0] for source in sources if source.startswith("hf://") and "@" in source}
    return found.pop() if len(found) == 1 else None
