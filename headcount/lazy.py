"""Packages whose public names are imported at their first use, so that a command that needs few answers at once."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package; its names are those that the file imports `if TYPE_CHECKING`.

    Args:
        package: The package's name.
        file: The path of its module.
    """
    homes = _imports(Path(file).read_text(encoding="utf-8"))

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        if home != package and hasattr(import_module(home), name):
            value = getattr(sys.modules[home], name)
        else:  # a module of its own
            value = import_module(f"{home}.{name}")
        setattr(sys.modules[package], name, value)
        return value

    return find, lambda: sorted({*vars(sys.modules[package]), *homes})


def _imports(source: str) -> dict[str, str]:
    """Return the module of every name that is imported for type checkers alone."""
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If) and _is_for_types(node.test)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names if node.module is not None}


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
