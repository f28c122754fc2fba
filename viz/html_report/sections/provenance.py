"""The section on provenance: every key and value of the manifest and of each result."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headcount.results import Result, Run

FIELDS = ("measure", "definition", "n")
PRINTED = 80  # with more results than this, their provenance is not printed: two results fill a sheet of paper


@dataclass(frozen=True)
class Provenance:
    """The origin of the numbers, as text.

    Attributes:
        manifest: The keys and values of the run's manifest.
        shared: The keys and values that all results have in common.
        results: The remaining keys and values of each result, by its name.
    """

    manifest: Mapping[str, str]
    shared: Mapping[str, str]
    results: Mapping[str, Mapping[str, str]]


def provenance_of(run: Run, results: Mapping[str, Result]) -> Provenance:
    """Collect the manifest and the provenance of each result."""
    by_name = {name: _fields(result) for name, result in results.items()}
    several = list(by_name.values()) if len(by_name) > 1 else []
    shared = {
        key: value
        for key, value in (several[0] if several else {}).items()
        if all(fields.get(key) == value for fields in several)
    }
    rest = {
        name: {key: value for key, value in fields.items() if key not in shared} for name, fields in by_name.items()
    }
    return Provenance(dict(flatten(run.manifest)), shared, rest)


def _fields(result: Any) -> dict[str, str]:
    """Return a result's measure, definition, n and provenance, as far as it has them."""
    fields = {name: getattr(result, name) for name in FIELDS if getattr(result, name, "") != ""}
    return dict(flatten({**fields, **result.provenance}))


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the entries of nested dicts as text, with dotted keys such as `versions.torch`."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
