"""Numbers of jobs whose results have not been fetched yet."""

import json
from pathlib import Path


class Jobs:
    """Numbers of jobs by the digests of their requests.

    Args:
        path: A file in which they outlive this process; None holds them in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._numbers = path, {}
        if path is not None and path.is_file():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                self._numbers = {str(digest): str(number) for digest, number in stored.items()}
            except (ValueError, AttributeError):
                self._numbers = {}  # after damage, the jobs run again

    def get(self, digest: str) -> str | None:
        """Return the number of the job for a request, or None."""
        return self._numbers.get(digest)

    def put(self, digest: str, number: str) -> None:
        """Record a job."""
        self._numbers[digest] = number
        self._write()

    def drop(self, digest: str) -> None:
        """Drop a job: its result has been fetched, or will never exist."""
        if self._numbers.pop(digest, None) is not None:
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            new = self._path.with_name(f"{self._path.name}.new")
            new.write_text(json.dumps(self._numbers), encoding="utf-8")
            new.replace(self._path)
