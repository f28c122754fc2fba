"""One form for the fields of every result: how they are written into a file, and how they are read again.

The annotations of a result's class decide:

* a tensor is stored as a tensor of the field's name or, in a JSON file, as lists of numbers;
* a dict of tensors is stored as one tensor an entry: `extras` as `extra.NAME`;
* a finite number is a JSON number; one that is not finite, which JSON lacks, is its word: `"nan"`, `"inf"`, `"-inf"`.
  Where text may stand in the same place, as in the cells of a `Table`, the word stands in a list of its own;
* a tuple is a list, another dataclass an object, and a `Mapping`, whose order matters, a list of pairs;
* everything else is JSON as it is.

Numbers written as text, such as `"0.5"`, are read as well: earlier versions wrote them. What does not fit an annotation
is passed on as it came, for the class to refuse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from jaxtyping import AbstractArray
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.storage.field_types import field_annotations, is_whole, shown
from headcount.results.storage.files import Content
from headcount.results.storage.json_text import unique_keys


@dataclass(frozen=True)
class Form:
    """The form that values of one annotation have in JSON.

    Attributes:
        write: Returns a value as JSON holds it.
        read: Returns the value that JSON holds; what is not of this form as it came.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def encode(result: Any, inline: bool = False) -> Content:
    """Return the content of a file that holds a result.

    Args:
        result: A dataclass.
        inline: True to write tensors as lists of numbers among the fields.
    """
    fields: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, kind in field_annotations(type(result)).items():
        value = getattr(result, name)
        if _is_dict_of_tensors(kind):
            tensors |= {_prefix(name) + key: tensor for key, tensor in value.items()}
        elif inline or not _is_tensor_or_none(kind):
            fields[name] = _form(kind).write(value)
        elif value is not None:
            tensors[name] = value
    return Content(type(result).__name__, fields, tensors)


def decode(kind: type, content: Content) -> dict[str, Any]:
    """Return the arguments that make a result of a class from the content of a file.

    Raises:
        InputError: A number is something else.
        TypeError: A mapping or another dataclass is something else.
        ValueError: As `TypeError`.
    """
    arguments: dict[str, Any] = {}
    annotations = field_annotations(kind)
    for name, value in content.fields.items():
        try:
            arguments[name] = _form(annotations.get(name, Any)).read(value)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    tensors = dict(content.tensors)
    for name in [name for name, annotation in annotations.items() if _is_dict_of_tensors(annotation)]:
        keys = [key for key in content.tensors if key.startswith(_prefix(name))]
        arguments[name] = {key.removeprefix(_prefix(name)): tensors.pop(key) for key in keys}
    return arguments | tensors


@cache
def _form(kind: Any) -> Form:
    """Return the form of an annotation; built once, since tables have many cells."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is float:
        return Form(_number_or_word, _read_number)
    if _is_tensor(kind):
        lists = _form(float)
        for _ in kind.dims:
            lists = _list_form(lists)
        return Form(lambda tensor: lists.write(tensor.tolist()), lists.read)
    if origin in (Union, UnionType):
        return _union_form(parts)
    if origin is tuple and parts[1:] == (Ellipsis,):
        return _list_form(_form(parts[0]))
    if origin is Mapping:
        return _pairs_form(_form(parts[1]))
    if isinstance(kind, type) and is_dataclass(kind):
        return _object_form(kind)
    return Form(_unchanged, _unchanged)


def _list_form(entry: Form) -> Form:
    return Form(
        lambda values: [entry.write(value) for value in values],
        lambda values: [entry.read(value) for value in values] if isinstance(values, list) else values,
    )


def _pairs_form(entry: Form) -> Form:
    return Form(
        lambda mapping: [[key, entry.write(value)] for key, value in mapping.items()],
        lambda pairs: unique_keys([(key, entry.read(value)) for key, value in pairs]),
    )


def _object_form(kind: Any) -> Form:
    forms = {name: _form(annotation) for name, annotation in field_annotations(kind).items()}
    unknown = Form(_unchanged, _unchanged)  # a name that the class will refuse

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return kind(**{name: forms.get(name, unknown).read(part) for name, part in value.items()})

    return Form(lambda value: {name: form.write(getattr(value, name)) for name, form in forms.items()}, read)


def _union_form(parts: tuple[Any, ...]) -> Form:
    """Return the form of `X | None`, or of the cell of a table, which may be text or a number."""
    if str in parts and float in parts:
        return Form(_cell, _read_cell)
    (part,) = (_form(part) for part in parts if part is not NoneType)
    return Form(
        lambda value: None if value is None else part.write(value),
        lambda value: None if value is None else part.read(value),
    )


def _unchanged(value: Any) -> Any:
    return value


def _number_or_word(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _read_number(value: Any) -> float:
    """Return a number from JSON, or from text such as `"nan"` or `"0.5"`.

    Raises:
        InputError: It is neither.
    """
    try:
        if isinstance(value, str):
            return float(value)
    except ValueError:
        pass
    if not (isinstance(value, float) or is_whole(value)):
        raise InputError(f"expected a real number, got {shown(value)}")
    return value


def _cell(value: Any) -> Any:
    word = _number_or_word(value)
    return value if word is value else [word]


def _read_cell(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    (word,) = value
    return _read_number(word)


def _is_tensor(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, AbstractArray)


def _is_tensor_or_none(kind: Any) -> bool:
    return _is_tensor(kind) or (get_origin(kind) in (Union, UnionType) and any(map(_is_tensor, get_args(kind))))


def _is_dict_of_tensors(kind: Any) -> bool:
    return get_origin(kind) is dict and _is_tensor(get_args(kind)[1])


def _prefix(name: str) -> str:
    """Return the beginning of the tensors' names of a dict of tensors: `extra.` for `extras`."""
    return f"{name.removesuffix('s')}."
