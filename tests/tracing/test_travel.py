"""Code that travels to a server keeps to the rules of `headcount.travel`, and nothing else of the toolkit travels."""

import dataclasses
import dis
import enum
import importlib
import inspect
import pkgutil
import sys
import textwrap
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
from nnsight.intervention import serialization
from reference.models import BUILDERS, bpe_tokenizer
from support.equals_local import EXAMPLES, TEXT

import headcount
from headcount import importance, induction
from headcount.tracing import load_model
from headcount.tracing.remote.payload import pack
from headcount.travel import TRAVELLERS

ROOMS = ("results", "stats", "tracing", "induction", "importance")
CONSTANTS = (str, int, float, bool, type(None), torch.dtype)


def all_modules() -> None:
    """Import every module of the rooms whose code may travel."""
    for room in ROOMS:
        package = importlib.import_module(f"headcount.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"headcount.{room}."):
            importlib.import_module(found.name)


all_modules()
MARKED = {
    f"{code.__module__}.{code.__qualname__}": code for code in TRAVELLERS if code.__module__.startswith("headcount")
}


def functions_of(code: Any) -> list[FunctionType]:
    if isinstance(code, FunctionType):
        return [code]
    own = [value for value in vars(code).values() if not isinstance(value, str)]
    unwrapped = [getattr(value, "__func__", getattr(value, "fget", value)) for value in own]
    return [value for value in unwrapped if isinstance(value, FunctionType)]


def is_constant(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(is_constant, value))
    if isinstance(value, dict):  # a table: `HANDLERS`
        return all(map(is_constant, value.values()))
    return isinstance(value, CONSTANTS) or is_marked(value)


def is_marked(value: Any) -> bool:
    return any(value is code for code in TRAVELLERS)


def outside_names(function: FunctionType) -> dict[str, Any]:
    """The globals that a function's source uses, as nnsight would send them."""
    source = textwrap.dedent(inspect.getsource(function))
    names = serialization._function_referenced_names(source)
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def faults(code: Any) -> list[str]:
    """What is wrong with code that is to travel."""
    wrong = []
    if isinstance(code, type) and (dataclasses.is_dataclass(code) or issubclass(code, enum.Enum | tuple)):
        wrong.append("it has generated methods, which have no source")
    module = sys.modules[code.__module__]
    for function in functions_of(code) if not wrong else ():
        if function.__annotations__ and not all(isinstance(value, str) for value in function.__annotations__.values()):
            wrong.append(f"{function.__name__}: annotations are no text")
        for name, value in outside_names(function).items():
            module_name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
            root = module_name.partition(".")[0]
            if root == "torch" or (root in sys.stdlib_module_names and not is_constant(value)):
                continue
            if isinstance(value, ModuleType):
                wrong.append(f"{function.__name__} uses the module {value.__name__}")
            elif not is_constant(value):
                wrong.append(f"{function.__name__} uses {name}, which is neither marked nor constant")
        if "STORE_GLOBAL" in {instruction.opname for instruction in dis.get_instructions(function)}:
            wrong.append(f"{function.__name__} keeps state in {module.__name__}")
    return wrong


@pytest.mark.parametrize("name", MARKED)
def test_marked_code_keeps_to_the_rules(name: str) -> None:
    assert faults(MARKED[name]) == []


def test_code_that_breaks_the_rules_is_noticed() -> None:
    @dataclasses.dataclass
    class Generated:
        number: int

    def reaches_outside() -> Any:
        return headcount

    def with_types(value: int) -> int:
        return value

    reaches_outside.__module__ = with_types.__module__ = Generated.__module__ = __name__
    assert "generated methods" in faults(Generated)[0]
    assert "reaches_outside uses the module headcount" in faults(reaches_outside)
    assert "no text" in faults(with_types)[0]


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
