"""The base of all results: frozen dataclasses that one file can hold."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, get_origin

from headcount.results.errors import InputError, damaged
from headcount.results.storage import checks, codec, files
from headcount.results.storage.field_types import field_annotations

JSON = ".json"


class Stored:
    """A frozen dataclass that one file can hold.

    Attributes:
        suffix: The end of the file's name: `.safetensors`, or `.json` for a class whose tensors are written as lists.
    """

    suffix: ClassVar[str] = ".safetensors"

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one file, whole or not at all; equal results give equal bytes.

        Args:
            path: The file; an existing one is replaced, and missing folders above it are created.

        Raises:
            InputError: The path cannot be written.
        """
        files.write_content(Path(path), self.to_content())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a file that `save` has written.

        Raises:
            InputError: The file is missing, damaged, foreign, of a newer schema or another kind; the message names it.
        """
        return cls.from_content(Path(path), files.read_content(Path(path)))

    def to_content(self) -> files.Content:
        """Return the content of a file that holds this result."""
        return codec.encode(self, inline=self.suffix == JSON)

    @classmethod
    def from_content(cls, path: Path, content: files.Content) -> Self:
        """Return the result that a file holds.

        Args:
            path: The file, for the error message.
            content: Its content.

        Raises:
            InputError: The content is another kind of result, or its parts do not fit each other.
        """
        if content.kind != cls.__name__:
            raise InputError(f"{path}: expected {cls.__name__}, got {content.kind}; check the path")
        try:
            return cls(**codec.decode(cls, content))
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise damaged(path, f"its parts do not fit ({error})") from error

    def _copy_fields(self) -> None:
        """Replace fields by plain copies: numbers as `float`, lists as tuples, `provenance` as JSON gives it back."""
        for name, kind in field_annotations(type(self)).items():
            value = getattr(self, name)
            if kind is float:
                self._set(name, float(value))
            elif get_origin(kind) is tuple:
                self._set(name, _as_tuples(value))
            elif get_origin(kind) is Mapping:
                self._set(name, dict(value))
            elif name == "provenance":
                self._set(name, checks.json_dict(name, value))

    def _adopt(self, name: str, axes: Sequence[str], sizes: Sequence[int | None], optional: bool = False) -> None:
        """Replace a field by a plain tensor of the expected shape; an optional one may stay None."""
        values = getattr(self, name)
        if values is None and optional:
            return
        tensor = checks.plain_tensor(name, values)
        checks.check_shape(name, tensor, axes, sizes)
        self._set(name, tensor)

    def _set(self, name: str, value: Any) -> None:
        """Set a field of a frozen dataclass, as its `__post_init__` may."""
        object.__setattr__(self, name, value)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
