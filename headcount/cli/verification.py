"""Known numbers of models, measured again for the command line."""

from typing import Any

from headcount.progress import Progress, say
from headcount.results import InputError
from headcount.study import KnownModel, known_model, verify_model
from headcount.tracing import load_model

DEFAULT = ("tiny-opt", "smollm2-135m")
"""The models that are verified where none is named."""

Row = dict[str, Any]


def verified(model: str | None, numbers_of: str | None, dtype: str | None, device: str | None) -> list[Row]:
    """Return one row for each known number of a model, or of the default ones.

    Raises:
        InputError: No numbers are known of the model, or it cannot be opened. Of the default ones, one that cannot be
            opened is a row that has not passed.
    """
    if numbers_of is not None and model is None:
        raise InputError("--numbers-of names the numbers of a model: expected the model too")
    if dtype not in (None, "float32"):
        say(f"note: tolerances are for float32, and the weights will be {dtype}")
    if model is not None:
        return _rows(model, known_model(numbers_of or model), dtype, device)
    rows: list[Row] = []
    for name in DEFAULT:
        known = known_model(name)
        try:
            rows += _rows(name, known, dtype, device)
        except InputError as error:
            opened = {"what": "it can be opened", "expected": "yes", "measured": str(error), "passed": False}
            rows.append({"model": name, **opened, "source": known.source})
    return rows


def _rows(source: str, known: KnownModel, dtype: str | None, device: str | None) -> list[Row]:
    opened = load_model(source, dtype=dtype, device_map=device)
    with Progress(len(known.checks)) as progress:
        progress.title(known.name)
        table = verify_model(opened, known, progress)
    return [{"model": known.name, **row} for row in table.records()]
