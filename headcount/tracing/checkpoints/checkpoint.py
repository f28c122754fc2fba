"""Weights of a model on disk, by the names of its parameters; each one is read when it is needed."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.checkpoints.converted_tensor import Convert, ConvertedTensor, converted_tensors
from headcount.tracing.checkpoints.file_formats import stored_tensors
from headcount.tracing.checkpoints.stored_tensor import StoredTensor
from headcount.tracing.checkpoints.weight_files import weight_files

_WEIGHT_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Tensors of other formats are masks of older checkpoints, or numbers that stand for weights: quantised ones."""
_HARMLESS = (
    r"(^|\.)rotary_emb\.inv_freq$",
    r"(^|\.)position_ids$",
    r"(^|\.)(attn|attention)\.(masked_)?bias$",
    r"(^|\.)decoder\.version$",
)
"""Tensors of older checkpoints that models now compute themselves: frequencies, positions, causal masks."""


def unplaced_tensors(names: Iterable[str], unused: Iterable[str] = ()) -> list[str]:
    """Return the names that are none of tensors which models do without; `unused` are patterns of further ones."""
    harmless = re.compile("|".join((*_HARMLESS, *unused)))
    return sorted(name for name in names if not harmless.search(name))


class Checkpoint:
    """A model's weights in files.

    Args:
        source: A folder, or a name on the Hub, from which the files are fetched into its cache.
        parameters: The names of the model's parameters, with their shapes.
        rename: Turns a tensor's name in the files into the name of its parameter; and into the pattern of its own name,
            if the parameter is made of several tensors, otherwise None.
        revision: The Hub's branch, tag or commit.
        convert: Makes parameters of several tensors; None if no parameter is made so.
        tied: The parameter that each further name stands for; the files may hold it by either name, or by both.
        unused: Patterns of names that the files may hold besides.
        to_read: True if the values are to be read from here, False if only names, shapes and formats are checked.

    Attributes:
        bytes: The size of the model's tensors on disk.

    Raises:
        InputError: There are no weights, they are damaged or not safe to read, some are missing, of another shape or no
            floating-point numbers, or there are tensors that the model has no place for.
    """

    def __init__(
        self,
        source: str,
        parameters: Mapping[str, torch.Size],
        rename: Callable[[str], tuple[str, str | None]],
        revision: str | None = None,
        *,
        convert: Convert | None = None,
        tied: Mapping[str, str] = MappingProxyType({}),
        unused: Iterable[str] = (),
        to_read: bool = True,
    ) -> None:
        self.source = source
        self._tensors: dict[str, StoredTensor | ConvertedTensor] = {}
        parts: dict[str, dict[str, list[StoredTensor]]] = {}
        stored: dict[str, StoredTensor] = {}
        for path in weight_files(source, revision):
            stored |= stored_tensors(path, with_places=to_read)
        for name in sorted(stored, key=_by_number):
            parameter, pattern = rename(name)
            if pattern is not None:
                parts.setdefault(parameter, {}).setdefault(pattern, []).append(stored[name])
            elif parameter in self._tensors:
                raise InputError(f"{source} holds {parameter} twice: expected one tensor a parameter; save it again")
            else:
                self._tensors[parameter] = stored[name]
        if convert is not None:
            for key, sources in parts.items():
                self._tensors |= converted_tensors(key, sources, convert)
        for alias, name in tied.items():
            if name not in self._tensors and alias in self._tensors:
                self._tensors[name] = self._tensors.pop(alias)
        self._check_names(parameters, tied, unused)
        for name, shape in parameters.items():
            self._check_format(name, shape)
        if to_read:
            self._check_tied(tied)
        self.bytes = sum(self._tensors[name].nbytes for name in parameters)

    def __getitem__(self, name: str) -> StoredTensor | ConvertedTensor:
        """Return a parameter as it is stored."""
        return self._tensors[name]

    def read(self, name: str, memory: Tensor) -> list[Tensor]:
        """Return a parameter's values as they are stored: the tensors that `join` makes it of.

        Args:
            name: Its name.
            memory: Memory for them; see `StoredTensor.read`.

        Raises:
            InputError: The file can no longer be read.
        """
        stored, values, begin = self._tensors[name], list[Tensor](), 0
        for part in stored.parts if isinstance(stored, ConvertedTensor) else [stored]:
            try:
                values.append(part.read(memory[begin:]))
            except OSError as error:
                reason = error.strerror or error
                raise InputError(f"{name} cannot be read from {part.path} ({reason}): was the file changed?") from error
            begin += part.page_bytes
        return values

    def join(self, name: str, values: Sequence[Tensor]) -> Tensor:
        """Return a parameter from what `read` returned."""
        stored = self._tensors[name]
        return stored.join(values) if isinstance(stored, ConvertedTensor) else values[0]

    def joining_bytes(self, name: str) -> int:
        """Return the number of bytes that `join` takes in between."""
        stored = self._tensors[name]
        return 2 * stored.nbytes if isinstance(stored, ConvertedTensor) else 0

    def _check_names(
        self, parameters: Mapping[str, torch.Size], tied: Mapping[str, str], unused: Iterable[str]
    ) -> None:
        """Refuse a checkpoint that lacks parameters, or has tensors of another model."""
        if missing := sorted(set(parameters) - set(self._tensors)):
            raise InputError(
                f"the weights of {self.source} are incomplete: {len(missing)} tensors are missing, first {missing[0]}"
            )
        if extra := unplaced_tensors({*self._tensors} - {*parameters, *tied}, unused):
            raise InputError(
                f"the model has no place for {len(extra)} tensors of {self.source}, first {extra[0]}: expected weights "
                "that go with its config.json"
            )

    def _check_format(self, name: str, shape: torch.Size) -> None:
        """Refuse a parameter of another shape, or of numbers that are no weights."""
        stored = self._tensors[name]
        if stored.shape != shape:
            raise InputError(f"{name} of {self.source} should be {list(shape)}, but is {list(stored.shape)}")
        if stored.dtype not in _WEIGHT_DTYPES:
            raise InputError(
                f"{name} of {self.source} is stored as {str(stored.dtype).removeprefix('torch.')}: expected float32, "
                "bfloat16, float16 or float64; if the weights are quantised, their config.json must say how"
            )

    def _check_tied(self, tied: Mapping[str, str]) -> None:
        """Refuse two stored tensors that should be one parameter and differ."""
        for alias, name in tied.items():
            first, second = self._tensors.get(alias), self._tensors[name]
            if isinstance(first, StoredTensor) and not (isinstance(second, StoredTensor) and first.equals(second)):
                raise InputError(
                    f"{alias} of {self.source} differs from {name}, which config.json says it is: set "
                    "tie_word_embeddings to false there"
                )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a key to sort names by, in which expert 10 comes after expert 9."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]
