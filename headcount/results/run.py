"""A run directory: everything that was measured on one model, one file for each result."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headcount.results import manifest
from headcount.results.errors import DamagedError, InputError
from headcount.results.storage import files
from headcount.results.storage.atomic import TEMPORARY, remove_leftovers, set_aside

if TYPE_CHECKING:  # torch, which they need, takes seconds to import
    from headcount.results.kinds.every_kind import Result

MANIFEST = manifest.MANIFEST
SUFFIXES = (".json", ".safetensors")
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)


class Run(Mapping[str, "Result"]):
    """The results in a run directory by name, such as `"induction/prefix_matching"`.

    A result is read from disk each time that it is looked up: other processes may be adding to the same folder. The
    lookup of one that is damaged, or was written for another run or name, raises `InputError`; the rest stay readable.

    Attributes:
        folder: The directory.
        manifest: Format, schema, time of creation, model and version, as `create_run` wrote them.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all results, damaged ones included, in alphabetical order."""
        paths = (path for path in self.folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
        names = {path.relative_to(self.folder).as_posix().removesuffix(path.suffix) for path in paths}
        return tuple(sorted(filter(_is_name, names)))

    def __getitem__(self, name: str) -> "Result":
        from headcount.results.kinds.every_kind import KINDS

        path, content = self._read(name)
        if content.kind not in KINDS:
            raise InputError(f"{path}: expected one of {', '.join(KINDS)}, got {content.kind}; check the path")
        return KINDS[content.kind].from_content(path, content)

    def content(self, name: str) -> files.Content:
        """Return a result's fields and arrays as its file has them, without its class, for tables that need no torch.

        Raises:
            KeyError: The run has no such result.
            InputError: It is damaged, or belongs to another run.
        """
        return self._read(name, arrays=True)[1]

    def _read(self, name: str, *, arrays: bool = False) -> tuple[Path, files.Content]:
        path = self._path(name)
        content = files.read_content(path, arrays=arrays)
        self._check_place(path, name, content)
        return path, content

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None  # the inherited one would read the file, and fail where it is damaged

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {len(self)} results of {manifest.describe(self.manifest['model'])})"

    def save(self, name: str, result: "Result") -> Path:
        """Write a result into the run, whole or not at all; one of the same name is replaced.

        Args:
            name: Words of letters, digits and `_ . + -`, with `/` between folders.
            result: The result.

        Returns:
            The file that now holds it.

        Raises:
            InputError: The name is not of that form, or the file cannot be written.
        """
        if not _is_name(name):
            raise InputError(f"expected a result's name such as 'induction/copying', got {name!r}; choose another")
        path = self.folder / f"{name}{result.suffix}"
        files.write_content(path, replace(result.to_content(), belongs=self._place(name)))
        return path

    def set_aside(self, name: str, ending: str = ".damaged") -> Path:
        """Rename the file of a damaged or outdated result: it counts as missing and can be measured again.

        Args:
            name: The result.
            ending: The end that its file name gets.

        Returns:
            The file's new path, which is the old one with the ending after it.

        Raises:
            KeyError: The run has no such result.
            InputError: The file cannot be renamed.
        """
        return set_aside(self._path(name), ending)

    def _has_written(self, name: str) -> bool:
        """Return True if a result states that it is of this run, or is too damaged to state anything."""
        try:
            return files.read_content(self._path(name)).belongs == self._place(name)
        except DamagedError:
            return True

    def _place(self, name: str) -> dict[str, Any]:
        """Return what a file states of its place, result and run, so that another put in its place is noticed."""
        return {"result": name, "model": manifest.identity(self.manifest["model"])}

    def _check_place(self, path: Path, name: str, content: files.Content) -> None:
        if not content.belongs:
            warnings.warn(
                f"results in {self.folder} that an early headcount wrote, or no run, do not state their run: "
                "a file of another run that took the place of one cannot be noticed",
                stacklevel=3,
            )
        elif content.belongs != self._place(name):
            model = content.belongs.get("model")
            described = manifest.describe(model if isinstance(model, dict) else {})
            raise InputError(
                f"{path} holds {content.belongs.get('result')} of a run of {described}, expected {name} of "
                f"{manifest.describe(self.manifest['model'])}; remove it and measure again"
            )

    def _path(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise KeyError(f"no result {name!r} in {self.folder}, which has {', '.join(self.names) or 'none'}")
        return path

    def _find(self, name: object) -> Path | None:
        """Return the file of a result, or None, without a look at the whole folder."""
        if not isinstance(name, str) or not _is_name(name):
            return None
        candidates = (self.folder / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((path for path in candidates if path.is_file()), None)


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and name != Path(MANIFEST).stem


def open_run(folder: str | PathLike[str]) -> Run:
    """Open a run directory to read from it, complete or not.

    Args:
        folder: A directory that `create_run` has created.

    Raises:
        InputError: It has no `manifest.json`, or one that is damaged, foreign or of a newer schema.
    """
    path = Path(os.path.expanduser(folder))
    return Run(path, manifest.read(path))


def create_run(folder: str | PathLike[str], *, model: Mapping[str, Any], version: str = "") -> Run:
    """Create a run directory for one model, or open the one that is there to go on with it.

    Args:
        folder: A directory that does not exist, is empty, or holds a run of the same model. A damaged `manifest.json`
            is set aside and written anew if every result states that it is of this model.
        model: The description of the model. `name`, `revision` and `fingerprint` decide whether two are the same.
        version: The version of headcount that measures, for the manifest.

    Raises:
        InputError: The folder is a file, cannot be written, holds something else, or another model's run.
    """
    from headcount.results.storage import checks

    folder = Path(os.path.expanduser(folder))
    described = checks.json_dict("model", model)
    check_folder(folder)
    if not os.path.isfile(folder / MANIFEST):
        manifest.write(folder, described, version)  # another process may write its own a moment later
    try:
        return _reopen(folder, described)
    except DamagedError as error:
        return _restored(folder, described, version, error)


def _reopen(folder: Path, model: dict[str, Any]) -> Run:
    run = open_run(folder)
    recorded = run.manifest["model"]
    if manifest.identity(recorded) != manifest.identity(model):
        raise InputError(
            f"{folder} holds a run of {manifest.describe(recorded)}, expected one of {manifest.describe(model)}; "
            "choose another folder"
        )
    remove_leftovers(folder)
    return run


def _restored(folder: Path, model: dict[str, Any], version: str, error: DamagedError) -> Run:
    """Return a run of which only the manifest is damaged: its results still state their model."""
    run = Run(folder, {"model": model})
    if not run.names or not all(run._has_written(name) for name in run.names):
        raise error
    aside = set_aside(folder / MANIFEST)
    warnings.warn(f"{error}; set aside as {aside.name}, and written anew: every result is of this model", stacklevel=3)
    return Run(folder, manifest.write(folder, model, version))


def check_folder(folder: str | PathLike[str]) -> None:
    """Require a folder that `create_run` would accept, before a model is loaded in vain.

    Raises:
        InputError: The folder is a file, cannot be written, or holds something else.
    """
    folder = Path(os.path.expanduser(folder))
    if "\0" in str(folder):
        raise InputError(f"{str(folder)!r}: expected the name of a folder")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, got a file; choose another folder")
    if not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}: expected a folder that can be written, got a read-only one; make it writable or choose another"
        )
    if os.path.isfile(folder / MANIFEST):
        return
    # A run that was killed while it wrote its manifest has left a temporary file behind, and nothing else; a manifest
    # that was not there a moment ago is that of another process, which begins at the same time.
    if any(entry.suffix != TEMPORARY and entry.name != MANIFEST for entry in folder.iterdir()):
        raise InputError(
            f"{folder}: expected a run, or a new or empty folder, got one with other files in it and no "
            f"{MANIFEST}; choose another folder"
        )
