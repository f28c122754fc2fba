"""A run directory: everything that was measured on one model, one file for each finished piece."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from results import checks, files
from results.accuracy import Accuracy
from results.errors import InputError
from results.learning import RepeatLoss
from results.patterns import Patterns
from results.profile import HeadProfile
from results.pruning import PruningCurve, PruningGrid
from results.scores import HeadScores, LayerScores
from results.table import Table

Result = HeadScores | LayerScores | HeadProfile | RepeatLoss | Accuracy | PruningCurve | PruningGrid | Table | Patterns

MANIFEST = "manifest.json"
IDENTITY = ("name", "revision", "fingerprint")
KINDS: Mapping[str, type[Result]] = {kind.__name__: kind for kind in get_args(Result)}
SUFFIXES = sorted({kind.suffix for kind in KINDS.values()})
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)


class Run(Mapping[str, Result]):
    """The results in a run directory by name, such as `"induction/prefix_matching"`.

    A result is read from disk each time it is asked for: other processes may be adding to the same folder. One that
    cannot be read raises `InputError` when it is asked for; the others stay at hand.

    Attributes:
        folder: The directory.
        manifest: What `create_run` wrote into it: format, schema, time of creation, model and version.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all results, damaged ones included, in alphabetical order."""
        found = (path for path in self.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
        named = {path.relative_to(self.folder).as_posix().removesuffix(path.suffix) for path in found}
        return tuple(sorted(filter(_is_name, named)))

    def __getitem__(self, name: str) -> Result:
        path = self._path(name)
        content = files.read(path)
        if content.kind not in KINDS:
            raise InputError(f"{path}: expected one of {', '.join(KINDS)}, got {content.kind}; check the path")
        return KINDS[content.kind].from_content(path, content)

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None  # the inherited one would read the file, and fail where it is damaged

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {len(self)} results of {_describe(self.manifest['model'])})"

    def save(self, name: str, result: Result) -> Path:
        """Writes a result into the run, whole or not at all; one of the same name is replaced.

        Args:
            name: Words of letters, digits and `_ . + -`, with `/` between folders.
            result: What to keep.

        Returns:
            The file that now holds it.

        Raises:
            InputError: The name is not of that form, or the file cannot be written.
        """
        if not _is_name(name):
            raise InputError(f"expected a result's name such as 'induction/copying', got {name!r}; choose another")
        path = self.folder / f"{name}{result.suffix}"
        result.save(path)
        return path

    def set_aside(self, name: str) -> Path:
        """Renames the file of a damaged result, so that the result counts as missing and can be measured again.

        Returns:
            The file's new path, which is the old one with `.damaged` after it.

        Raises:
            KeyError: The run has no such result.
            InputError: The file cannot be renamed.
        """
        path = self._path(name)
        aside = path.with_name(f"{path.name}.damaged")
        try:
            return path.replace(aside)
        except OSError as error:
            raise InputError(f"cannot rename {path}: {error.strerror}; make its folder writable") from error

    def _path(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise KeyError(f"no result {name!r} in {self.folder}, which has {', '.join(self.names) or 'none'}")
        return path

    def _find(self, name: object) -> Path | None:
        """The file of a result, without a look at all the others."""
        if not isinstance(name, str) or not _is_name(name):
            return None
        candidates = (self.folder / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((path for path in candidates if path.is_file()), None)


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and name != Path(MANIFEST).stem


def open_run(folder: str | PathLike[str]) -> Run:
    """Opens a run directory to read from it, complete or not.

    Args:
        folder: A directory that `create_run` has made.

    Raises:
        InputError: It has no `manifest.json`, or one that is damaged, foreign or of a newer schema.
    """
    path = Path(folder) / MANIFEST
    if not os.path.isfile(path):
        raise InputError(f"{folder} is not a run directory: expected {MANIFEST} in it, found none; check the path")
    files.check_file(path)
    manifest = files.read_json(path)
    files.check_header(path, manifest)
    if not isinstance(manifest.get("model"), dict):
        raise files.damaged(path, "it names no model")
    return Run(Path(folder), manifest)


def create_run(folder: str | PathLike[str], *, model: Mapping[str, Any], version: str = "") -> Run:
    """Makes a run directory for one model, or opens the one that is there to go on with it.

    Args:
        folder: A directory that does not exist, is empty, or holds a run of the same model.
        model: What the model is. `name`, `revision` and `fingerprint` decide whether two are the same.
        version: The version of headcount that measures, for the manifest.

    Raises:
        InputError: The folder is a file, cannot be written, holds something else, or another model's run.
    """
    folder = Path(folder)
    identity = checks.json_dict("model", model)
    if os.path.isfile(folder / MANIFEST):
        return _reopen(folder, identity)
    _check_free(folder)
    manifest = {
        "format": files.FORMAT,
        "schema": files.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "headcount": version,
        "model": identity,
    }
    files.write_whole(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return _reopen(folder, identity)  # another process may have written its own a moment later


def _reopen(folder: Path, model: dict[str, Any]) -> Run:
    run = open_run(folder)
    theirs = run.manifest["model"]
    if any(theirs.get(key) != model.get(key) for key in IDENTITY):
        raise InputError(
            f"{folder} holds a run of {_describe(theirs)}, expected one of {_describe(model)}; choose another folder"
        )
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}: expected a folder that can be written, got a read-only one; make it writable or choose another"
        )
    return run


def _check_free(folder: Path) -> None:
    """Requires that nothing is at this path, or an empty folder."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, got a file; choose another folder")
    # A run that was killed while it wrote its manifest has left a temporary file behind, and nothing else; a manifest
    # that was not there just now is that of another process, which begins at the same time.
    if any(entry.suffix != files.TEMPORARY and entry.name != MANIFEST for entry in folder.iterdir()):
        raise InputError(
            f"{folder}: expected a run, or a new or empty folder, got one with other files in it and no "
            f"{MANIFEST}; choose another folder"
        )


def _describe(model: Mapping[str, Any]) -> str:
    """A model's name, and what tells it from another of the same name."""
    details = [f"{key} {model[key]}" for key in IDENTITY[1:] if model.get(key)]
    return f"{model.get('name')} ({', '.join(details)})" if details else str(model.get("name"))
