"""The model that a study measures is loaded, and its run directory created or reopened."""

from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from headcount.progress import say
from headcount.results import Run, create_run
from headcount.study.config import StudyConfig
from headcount.target import Target
from headcount.tracing import Model, identity, load_model


def study_target(config: StudyConfig, target: Target) -> Target:
    """Return the target with the configuration's options where it has none of its own."""
    own = ("out", "replace")
    options = {name: value or getattr(config, name) for name, value in asdict(target).items() if name not in own}
    return replace(target, **options)


def open_target(target: Target) -> tuple[Model, Run]:
    """Load the model, and create or reopen the run its results go into."""
    model = load_target(target)
    run = create_target_run(target, manifest_entry(model))
    if model.server is not None:
        model.server.record_jobs(run.folder / ".jobs", say)
    return model, run


def load_target(target: Target) -> Model:
    """Load the model."""
    remote: bool | str = True if target.remote == "ndif" else target.remote or False
    options: dict[str, Any] = {"dtype": target.dtype, "device_map": target.device}
    return load_model(target.model, remote=remote, stream=target.stream, memory=target.memory, **options)


def create_target_run(target: Target, model: dict[str, Any]) -> Run:
    """Create or reopen the run of a model with this manifest entry."""
    return create_run(target.out, model=model, version=version("headcount"))


def manifest_entry(model: Model) -> dict[str, Any]:
    """Return the entry of a model in a run's manifest."""
    return {**identity(model), "sizes": asdict(model.sizes)}
