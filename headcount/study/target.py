"""The model that a study measures, and the run directory that takes the results."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headcount.progress import say
from headcount.results import Run, create_run
from headcount.study.config import Study
from headcount.tracing import Model, identity, load_model


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model, and the run directory that takes its results.

    Attributes:
        out: Run directory to write to: a new one, or one with a run of the same model.
        model: A folder, a name on the Hub, tiny-opt or smollm2-135m; None is the study's, or smollm2-135m.
        dtype: Number format of the weights; None keeps the checkpoint's own.
        device: Where to put the model, such as cuda or auto; None is the CPU.
        remote: A server that runs the model: `ndif`, or an address.
        stream: True leaves the weights on disk and reads them block by block.
        memory: What this process may hold when it streams, such as 4GiB.
    """

    out: Path
    model: str | None = None
    dtype: str | None = None
    device: str | None = None
    remote: str | None = None
    stream: bool = False
    memory: str | None = None


def on_target(study: Study, target: Target) -> tuple[Study, Target]:
    """Return a study with the target's settings, and the target with the study's where it has none."""
    given = {name: value for name, value in asdict(target).items() if value and name != "out"}
    study = study.model_copy(update=given)
    settings = {name: getattr(study, name) for name in asdict(target) if name != "out"}
    return study, Target(out=target.out, **settings)


def open_target(target: Target) -> tuple[Model, Run]:
    """Load the model, and create or reopen the run its results go into."""
    model = load_target(target)
    run = create_run(target.out, model=manifest_entry(model), version=version("headcount"))
    if model.server is not None:
        model.server.keep_jobs(run.folder / ".jobs", say)
    return model, run


def load_target(target: Target) -> Model:
    """Load the model."""
    remote: bool | str = True if target.remote == "ndif" else target.remote or False
    options: dict[str, Any] = {"dtype": target.dtype, "device_map": target.device}
    return load_model(target.model, remote=remote, stream=target.stream, memory=target.memory, **options)


def manifest_entry(model: Model) -> dict[str, Any]:
    """Return what a run's manifest keeps of its model."""
    return {**identity(model), "sizes": asdict(model.sizes)}
