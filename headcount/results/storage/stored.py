"""What all results have in common: they take over plain tensors, and one file keeps each of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

from headcount.results.errors import InputError
from headcount.results.storage import checks, files


class Stored(ABC):
    """A frozen dataclass that one file can hold: what it is made of, and how to make it again."""

    suffix: ClassVar[str] = ".safetensors"

    @abstractmethod
    def to_content(self) -> files.Content:
        """What a file holds of this: tensors by name, and all the rest as fields."""

    @classmethod
    @abstractmethod
    def arguments(cls, content: files.Content) -> dict[str, Any]:
        """The arguments that make the same object again from a file's content."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes everything to one file, whole or not at all; equal results give equal bytes.

        Args:
            path: The file; an existing one is replaced, and missing folders above it are made.

        Raises:
            InputError: The path cannot be written.
        """
        files.write(Path(path), self.to_content())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads what `save` has written.

        Raises:
            InputError: The file is missing, damaged, foreign, of a newer schema or another kind; the message names it.
        """
        return cls.from_content(Path(path), files.read(Path(path)))

    @classmethod
    def from_content(cls, path: Path, content: files.Content) -> Self:
        """Makes the object that a file holds.

        Args:
            path: The file, for the error message.
            content: What was read from it.

        Raises:
            InputError: The content is another kind of result, or its parts do not fit each other.
        """
        if content.kind != cls.__name__:
            raise InputError(f"{path}: expected {cls.__name__}, got {content.kind}; check the path")
        try:
            return cls(**cls.arguments(content))
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise files.damaged(path, f"its parts do not fit ({error})") from error

    def _adopt(self, name: str, axes: Sequence[str], sizes: Sequence[int | None], optional: bool = False) -> None:
        """Replaces a field by a plain tensor of the expected shape; an optional one may stay None."""
        given = getattr(self, name)
        if given is None and optional:
            return
        tensor = checks.plain_tensor(name, given)
        checks.check_shape(name, tensor, axes, sizes)
        self._set(name, tensor)

    def _set(self, name: str, value: Any) -> None:
        """Sets a field of a frozen dataclass, which its own `__post_init__` may do."""
        object.__setattr__(self, name, value)
