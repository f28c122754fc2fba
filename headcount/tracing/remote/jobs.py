"""Numbers of jobs whose results are not here yet."""

import json
from pathlib import Path


class Jobs:
    """Numbers of jobs whose results are not here yet, by what was asked; in a file, they outlive this process."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._kept = path, {}
        if path is not None and path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._kept = {str(key): str(value) for key, value in kept.items()}
            except (ValueError, AttributeError):
                self._kept = {}  # a damaged list costs a job that runs again

    def get(self, digest: str) -> str | None:
        """The job that was submitted for this, if its result is not here yet."""
        return self._kept.get(digest)

    def put(self, digest: str, job: str) -> None:
        """Remember a job."""
        self._kept[digest] = job
        self._write()

    def drop(self, digest: str) -> None:
        """Forget a job: its result is here, or will never be."""
        if self._kept.pop(digest, None) is not None:
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            aside = self._path.with_name(f"{self._path.name}.new")
            aside.write_text(json.dumps(self._kept), encoding="utf-8")
            aside.replace(self._path)
