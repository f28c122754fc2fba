"""Compares two run directories: every tensor byte for byte, every number and text; provenance apart.

    python tests/support/same_results.py RUN OTHER_RUN

Runs of one study on one machine are equal whatever was changed in names and layout. Verdicts hold sentences, which may
be worded anew.
"""

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.numpy
from safetensors import safe_open

APART = ("provenance", "inputs")
"""Fields that may differ: when, where and by which version a result was measured."""


def results(run: Path) -> dict[str, Path]:
    """Return the files of a run by their names in it."""
    files = (path for path in run.rglob("*") if path.suffix in (".safetensors", ".json") and path.name[0] != ".")
    return {path.relative_to(run).as_posix(): path for path in files if path.name != "manifest.json"}


def header(path: Path) -> dict[str, Any]:
    """Return the header of a result."""
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8")
    else:
        with safe_open(path, framework="numpy") as file:
            text = file.metadata()["headcount"]
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def plain(value: Any) -> Any:
    """Return a field with every number in one form: earlier versions wrote some as text."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if key not in APART}
    if isinstance(value, list):
        return [plain(inner) for inner in value] if len(value) != 1 else plain(value[0])
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return repr(float(value))
        except ValueError:
            return value
    return value


def differences(run: Path, other: Path) -> list[str]:
    """Return one line for each result that differs, or is in one run only."""
    mine, theirs = results(run), results(other)
    lines = [f"{name}: in one run only" for name in sorted(mine.keys() ^ theirs.keys())]
    for name in sorted(mine.keys() & theirs.keys()):
        if name.endswith(".safetensors"):
            tensors, others = safetensors.numpy.load_file(mine[name]), safetensors.numpy.load_file(theirs[name])
            if tensors.keys() != others.keys():
                lines.append(f"{name}: tensors {sorted(tensors.keys() ^ others.keys())} in one run only")
            for key in tensors.keys() & others.keys():
                same = tensors[key].dtype == others[key].dtype and tensors[key].shape == others[key].shape
                if not same or tensors[key].tobytes() != others[key].tobytes():
                    lines.append(f"{name}: tensor {key} differs")
        if plain(header(mine[name])["fields"]) != plain(header(theirs[name])["fields"]):
            lines.append(f"{name}: fields differ")
    return lines


def main() -> None:
    """Print the differences; exit with 1 if there are any."""
    run, other = map(Path, sys.argv[1:3])
    lines = differences(run, other)
    print("\n".join(lines) or f"{len(results(run))} results, every tensor and number the same")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
