"""Code that travels to a server follows the rules of `headcount.remote_code`; no other code of ours travels."""

import ast
import dataclasses
import dis
import enum
import importlib
import inspect
import pkgutil
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy
import pytest
import torch
from nnsight.intervention import serialization
from reference.models import BUILDERS, bpe_tokenizer
from support.equals_local import EXAMPLES, TEXT

import headcount
from headcount import importance, induction
from headcount.remote_code import REMOTE_CODE
from headcount.tracing import load_model
from headcount.tracing.remote.payload import pack

ROOMS = ("results", "stats", "tracing", "induction", "importance")
CONSTANTS = (str, int, float, bool, type(None), slice, torch.dtype)
LIBRARY = (ModuleType, type, FunctionType, BuiltinFunctionType)
DECORATORS = {"runs_remotely", "property", "classmethod", "staticmethod"}


class Empty:
    pass


OF_EVERY_CLASS = {*vars(Empty), "__annotations__", "__slotnames__"}  # the last one is set by pickle


def import_all_modules() -> None:
    """Import every module of the rooms whose code may travel."""
    for room in ROOMS:
        package = importlib.import_module(f"headcount.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"headcount.{room}."):
            importlib.import_module(module.name)


import_all_modules()
MARKED = {
    f"{code.__module__}.{code.__qualname__}": code for code in REMOTE_CODE if code.__module__.startswith("headcount")
}


def functions_of(code: Any) -> list[FunctionType]:
    """The functions that travel with marked code: methods, and those behind class methods, static ones, properties."""
    if isinstance(code, FunctionType):
        return [code]
    parts = [part for value in vars(code).values() for part in parts_of(value)]
    return [part for part in parts if isinstance(part, FunctionType)]


def parts_of(attribute: Any) -> list[Any]:
    if isinstance(attribute, classmethod | staticmethod):
        return [attribute.__func__]
    if isinstance(attribute, property):
        return [part for part in (attribute.fget, attribute.fset, attribute.fdel) if part is not None]
    return [attribute]


def is_marked(value: Any) -> bool:
    return any(value is code for code in REMOTE_CODE)


def is_constant(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(is_constant, value))
    return isinstance(value, CONSTANTS) or is_marked(value)


def is_constant_table(value: Any) -> bool:
    """A dict at the top of a module that maps to constants, such as `HANDLERS`."""
    return isinstance(value, dict) and all(map(is_constant, value.values()))


def is_of_a_library(value: Any) -> bool:
    """A module, class or function of torch or the standard library; objects of their classes may hold state."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    return isinstance(value, LIBRARY) and is_on_the_server(name) and not name.startswith("nnsight")


def is_on_the_server(module: str) -> bool:
    root = module.partition(".")[0]
    return root in ("torch", "nnsight") or root in sys.stdlib_module_names


def source_of(function: FunctionType) -> str:
    return textwrap.dedent(inspect.getsource(function))


def global_names(function: FunctionType) -> dict[str, Any]:
    """The globals that nnsight would send with a function."""
    names = serialization._function_referenced_names(source_of(function))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def all_code(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of functions inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


def faults(code: Any) -> list[str]:
    """The rules that marked code breaks."""
    broken = faults_of_class(code) if isinstance(code, type) else []
    if any("generated" in fault for fault in broken):
        return broken
    for function in functions_of(code):
        checks = (faults_of_form, faults_of_signature, faults_of_names, faults_of_instructions)
        broken += [f"{function.__name__} {fault}" for check in checks for fault in check(function)]
    return broken


def faults_of_class(code: type) -> list[str]:
    if dataclasses.is_dataclass(code) or issubclass(code, enum.Enum | tuple):
        return ["has generated methods, which have no source"]
    broken = [] if type(code) is type else [f"has the metaclass {type(code).__name__}"]
    bases = [base for base in code.__bases__ if not (is_marked(base) or is_of_a_library(base))]
    broken += [f"has the base {base.__name__}" for base in bases]
    for name, value in vars(code).items():
        is_method = all(isinstance(part, FunctionType) for part in parts_of(value))
        if name not in OF_EVERY_CLASS and not is_method and not is_constant(value):
            broken.append(f"has the attribute {name}, which is neither a method nor constant")
    if not all(isinstance(value, str) for value in vars(code).get("__annotations__", {}).values()):
        broken.append("has annotations that are no text")
    return broken


def faults_of_form(function: FunctionType) -> Iterator[str]:
    """The bare function travels, compiled alone."""
    if hasattr(function, "__wrapped__"):
        yield "is wrapped by a decorator"
    definition = ast.parse(source_of(function)).body[0]
    for decorator in getattr(definition, "decorator_list", []):
        name = ast.unparse(decorator)
        if name not in DECORATORS and not name.endswith((".setter", ".deleter")):
            yield f"has the decorator {name}"
    for name in set(function.__code__.co_freevars) - {"__class__"}:
        yield f"uses {name} of an enclosing function"
    if "__class__" in function.__code__.co_freevars and function.__name__ != "__init__":
        yield "calls super()"


def faults_of_signature(function: FunctionType) -> Iterator[str]:
    if not all(isinstance(value, str) for value in function.__annotations__.values()):
        yield "has annotations that are no text"
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if not all(map(is_constant, defaults)):
        yield "has a default that is not constant"


def faults_of_names(function: FunctionType) -> Iterator[str]:
    for name, value in global_names(function).items():
        if is_of_a_library(value) or is_constant(value) or is_constant_table(value):
            continue
        if isinstance(value, ModuleType):
            yield f"uses the module {value.__name__}"
        else:
            yield f"uses {name}, which is neither marked nor constant"


def faults_of_instructions(function: FunctionType) -> Iterator[str]:
    mangled = f"_{function.__qualname__.split('.')[-2].lstrip('_')}__" if "." in function.__qualname__ else "\0"
    for code in all_code(function.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                yield f"has the state {instruction.argval}"
            if instruction.opname == "IMPORT_NAME" and not is_on_the_server(instruction.argval):
                yield f"imports {instruction.argval}"
        if any(name.startswith(mangled) for name in (*code.co_names, *code.co_varnames)):
            yield "uses a name that its class mangles"


@pytest.mark.parametrize("name", MARKED)
def test_marked_code_follows_the_rules(name: str) -> None:
    assert faults(MARKED[name]) == []


LOCK = threading.Lock()
COUNTS: list[int] = []
number = 0


class Unmarked:
    pass


def with_a_module():
    return headcount


def with_a_package():
    return numpy.zeros(1)


def with_an_unmarked_class():
    return Unmarked()


def with_a_library_object():
    with LOCK:
        return 1


def with_a_list():
    return COUNTS


def with_state():
    global number
    number = 1


def with_state_inside():
    def inner():
        global number
        number = 1

    return inner


def with_an_import():
    import headcount.remote_code

    return headcount


def with_types(value: int):
    return value


def with_a_default(value=COUNTS):
    return value


def with_a_keyword_default(*, value=COUNTS):
    return value


def wrapped(function):
    @wraps(function)
    def wrapper():
        return function()

    return wrapper


def replaced(function):
    return lambda: function()


@wrapped
def with_a_wrapper():
    return 1


@replaced
def with_a_replacement():
    return 1


@torch.no_grad()
def with_no_grad():
    return 1


@contextmanager
def with_a_context():
    yield


@dataclasses.dataclass
class Generated:
    value: "int"


class Kind(enum.Enum):
    ONE = 1


class Pair(tuple):
    __slots__ = ()


class WithBase(Unmarked):
    pass


class WithMeta(metaclass=type("Meta", (type,), {})):
    pass


class WithAttribute:
    counts = COUNTS


class WithTypes:
    value: int


class WithMethods:
    def method(self):
        return COUNTS


class WithClassMethod:
    @classmethod
    def method(cls):
        return COUNTS


class WithStaticMethod:
    @staticmethod
    def method():
        return COUNTS


class WithProperty:
    @property
    def value(self):
        return COUNTS


class WithSetter:
    @property
    def value(self):
        return 1

    @value.setter
    def value(self, value):
        COUNTS.append(value)


class WithDecoratedMethod:
    @cache  # noqa: B019
    def method(self):
        return 1


class WithDecoratedProperty:
    @property
    @torch.no_grad()
    def value(self):
        return 1


class WithSuper:
    def method(self):
        return super().__str__()


class WithMangledName:
    def method(self):
        return self.__value


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (with_a_module, "with_a_module uses the module headcount"),
        (with_a_package, "with_a_package uses the module numpy"),
        (with_an_unmarked_class, "with_an_unmarked_class uses Unmarked, which is neither marked nor constant"),
        (with_a_library_object, "with_a_library_object uses LOCK, which is neither marked nor constant"),
        (with_a_list, "with_a_list uses COUNTS, which is neither marked nor constant"),
        (with_state, "with_state has the state number"),
        (with_state_inside, "with_state_inside has the state number"),
        (with_an_import, "with_an_import imports headcount.remote_code"),
        (with_types, "with_types has annotations that are no text"),
        (with_a_default, "with_a_default has a default that is not constant"),
        (with_a_keyword_default, "with_a_keyword_default has a default that is not constant"),
        (with_a_wrapper, "with_a_wrapper is wrapped by a decorator"),
        (with_a_replacement, "<lambda> uses function of an enclosing function"),
        (with_no_grad, "with_no_grad is wrapped by a decorator"),
        (with_a_context, "with_a_context is wrapped by a decorator"),
        (Generated, "has generated methods, which have no source"),
        (Kind, "has generated methods, which have no source"),
        (Pair, "has generated methods, which have no source"),
        (WithBase, "has the base Unmarked"),
        (WithMeta, "has the metaclass Meta"),
        (WithAttribute, "has the attribute counts, which is neither a method nor constant"),
        (WithTypes, "has annotations that are no text"),
        (WithMethods, "method uses COUNTS, which is neither marked nor constant"),
        (WithClassMethod, "method uses COUNTS, which is neither marked nor constant"),
        (WithStaticMethod, "method uses COUNTS, which is neither marked nor constant"),
        (WithProperty, "value uses COUNTS, which is neither marked nor constant"),
        (WithSetter, "value uses COUNTS, which is neither marked nor constant"),
        (WithDecoratedMethod, "has the attribute method, which is neither a method nor constant"),
        (WithDecoratedProperty, "value is wrapped by a decorator"),
        (WithSuper, "method calls super()"),
        (WithMangledName, "method uses a name that its class mangles"),
    ],
)
def test_code_that_breaks_a_rule_is_noticed(code: Any, fault: str) -> None:
    assert fault in faults(code)


def test_code_that_follows_the_rules_passes() -> None:
    class Plain:
        factor = 2

        def __init__(self, value):
            super().__init__()
            self.value = value

        @property
        def doubled(self):
            return self.factor * torch.tensor(self.value)

        @staticmethod
        def imported():
            import math

            return math.pi

    assert faults(Plain) == []


SYLLABLES = {"syllables": ["ba", "ca", "da", "fa"]}


def test_nothing_that_is_not_marked_travels(tmp_path, monkeypatch) -> None:
    """Every function of the toolkit in requests of all kinds is marked, by itself or with its class."""
    sent: set[str] = set()
    reduce = serialization.CustomCloudPickler._dynamic_function_reduce

    def noted(self: Any, function: FunctionType) -> Any:
        if function.__module__ is not None and function.__module__.startswith("headcount"):
            sent.add(f"{function.__module__}.{function.__qualname__}")
        return reduce(self, function)

    monkeypatch.setattr(serialization.CustomCloudPickler, "_dynamic_function_reduce", noted)
    BUILDERS["opt"]().save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    far = load_model(tmp_path, remote="http://127.0.0.1:9")

    class Packed(Exception):  # noqa: N818 - no error: the request is complete
        pass

    def pack_only(model: Any, passes: Any, progress: Any = None) -> None:
        pack(model, passes)
        raise Packed

    monkeypatch.setattr(far.server, "run", pack_only)
    task = importance.load_task("plural")
    tokens = torch.arange(2, 14)[None]
    for measure in (
        lambda: far.run_with_cache(TEXT),
        lambda: induction.prefix_matching(far, tokens[:, :12], 3),
        lambda: induction.copying(far, tokens),
        lambda: induction.repeat_loss(far, 2, period=6),
        lambda: induction.record_patterns(far, TEXT),
        lambda: induction.head_profile(far, 1, 1, TEXT),
        lambda: induction.copy_suppression(far, tokens),
        lambda: induction.successor(far, SYLLABLES),
        lambda: induction.retrieval(far, 1, length=9, needle=2),
        lambda: importance.accuracy(far, task, 0, 2),
        lambda: importance.ffn_importance(far, task, 0, 2),
        lambda: importance.head_importance(far, EXAMPLES),
        lambda: importance.head_importance(far, EXAMPLES, "oracle"),
    ):
        with pytest.raises(Packed):
            measure()
    unmarked = {name for name in sent if not any(name == known or name.startswith(f"{known}.") for known in MARKED)}
    assert sent
    assert unmarked == set()
