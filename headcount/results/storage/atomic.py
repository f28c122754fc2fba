"""Files and folders that appear whole or not at all, whatever happens to the process that writes them."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from headcount.results.errors import InputError

TEMPORARY = ".tmp"
TRIES = 100  # to write a file that other processes write at the same time
ADVICE = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), "free some space and give the same command again: finished results stay"
)
"""What to do when a file cannot be written, by the number of the error."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees all of it or what was there before.

    Args:
        path: The file; missing folders above it are created.
        data: The whole content.

    Raises:
        InputError: The path cannot be written, or is something else than a file: a folder, a device, a pipe.
    """
    if path.name in ("", "..") or "\0" in str(path):
        raise InputError(f"cannot write {str(path)!r}: expected the name of a file")
    if os.path.islink(path):
        path = Path(os.path.realpath(path))  # the link's target is written, and the link stays
    if os.path.lexists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise InputError(f"cannot write {path}: expected a file or a new name, got something else; choose another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(TRIES):
            if _replace(path, data):
                return
        raise InputError(f"cannot write {path}: other processes write it, too; let one of them end")
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"cannot write {path}: a file is where a folder must be; choose another path") from error
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose a path that can be written")
        raise InputError(f"cannot write {path}: {error.strerror}; {advice}") from error


def write_folder_whole(folder: Path, marker: str, fill: Callable[[Path, Path], None]) -> None:
    """Write a folder, if it is not there yet, so that it appears whole or not at all.

    Args:
        folder: The folder.
        marker: The name of a file that only a whole folder has.
        fill: Takes a scratch folder and a path that does not exist yet, and writes the folder at that path.
    """
    if (folder / marker).is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        filled = Path(scratch) / "filled"
        fill(Path(scratch), filled)
        if not (folder / marker).is_file():  # another process may have been quicker
            shutil.rmtree(folder, ignore_errors=True)
            filled.rename(folder)


def set_aside(path: Path, ending: str = ".damaged") -> Path:
    """Rename a file, so that another can take its place and nothing is lost.

    Args:
        path: The file.
        ending: The end that its name gets.

    Returns:
        The new path: the old one with the ending after it.

    Raises:
        InputError: The file cannot be renamed.
    """
    try:
        return path.replace(path.with_name(f"{path.name}{ending}"))
    except OSError as error:
        raise InputError(f"cannot rename {path}: {error.strerror}; make its folder writable") from error


def _replace(path: Path, data: bytes) -> bool:
    """Write beside the path and rename; return False if another writer of the path has removed the temporary file."""
    # Opened by hand and not by tempfile, whose files only their owner could read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        raise
    finally:
        temporary.unlink(missing_ok=True)
    # Left by a process that was killed while it wrote; one that still writes begins again.
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{8 * '[0-9a-f]'}{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of results that are there: left by a process that was killed just after another wrote one.

    One that a process writes at this moment may go too: it begins again.
    """
    for leftover in folder.rglob(f".*.{8 * '[0-9a-f]'}{TEMPORARY}"):
        if leftover.with_name(leftover.name[1 : -len(f".12345678{TEMPORARY}")]).exists():
            with contextlib.suppress(OSError):  # such as in a folder that cannot be written; it does no harm
                leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut; Windows opens no folders, and has no need of it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
