"""What a study would cost, before any weight is loaded."""

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from headcount.importance.work import SAMPLE
from headcount.planning.costs import Cost, costs, together
from headcount.planning.flops import Shape
from headcount.planning.hardware import Hardware, hardware
from headcount.planning.stand_ins import asked_or_standing_in, with_published_rows
from headcount.results import create_run
from headcount.study.config import Study
from headcount.study.study import study_units
from headcount.study.units import Unit
from headcount.tracing import describe_model

PARTS = {
    r"induction/repeat_loss": "loss by repeat",
    r"induction/": "induction scores",
    r"attention/": "attention patterns",
    r"control/": "random weights",
    r"accuracy/": "accuracy",
    r"importance/heads/(?!mean|rank-mean)": "head importance",
    r"importance/ffns/(?!mean|rank-mean)": "FFN importance",
    r"pruning/\w+/.*\.own": "removal, own ranking",
    r"pruning/\w+/.*\.(mean|most|least)": "removal, other rankings",
    r"pruning/\w+/.*\.random": "removal, random orders",
    r"pruning/\w+/.*\.recomputed": "removal, ranked again",
    r"pruning/grid/": "removal, both together",
    r"": "comparisons",
}
"""Parts of a study, by the first result that a unit leaves."""


@dataclass(frozen=True)
class Part:
    """Some units of one kind, together.

    Attributes:
        name: What they measure.
        units: How many they are.
        cost: What they cost.
    """

    name: str
    units: int
    cost: Cost


@dataclass(frozen=True)
class Plan:
    """What a study would cost.

    Attributes:
        model: The model.
        about: Its sizes, for a person.
        on: The hardware.
        parts: Each part.
        assumed: What was taken in place of what was not to be had, and what the numbers rest on; a sentence each.
    """

    model: str
    about: str
    on: Hardware
    parts: tuple[Part, ...]
    assumed: tuple[str, ...]

    @property
    def total(self) -> Part:
        """All parts together."""
        cost = reduce(together, (part.cost for part in self.parts), Cost("", (), False))
        return Part("in all", sum(part.units for part in self.parts), cost)

    def as_values(self) -> dict[str, Any]:
        """The plan as JSON can hold it."""
        return {
            "model": self.model,
            "about": self.about,
            "hardware": asdict(self.on),
            "parts": [_values(part) for part in self.parts],
            "total": _values(self.total),
            "assumed": list(self.assumed),
        }


def _values(part: Part) -> dict[str, Any]:
    said = part.cost._asdict()
    for name in ("title", "names", "done"):
        del said[name]
    return {"part": part.name, "units": part.units, **said, "memory": part.cost.memory._asdict()}


def plan_study(config: Study, on: str, *, published_rows: bool = False) -> Plan:
    """What a study would cost on some hardware.

    Args:
        config: The study.
        on: The hardware, as `headcount.planning.hardware.hardware` takes it.
        published_rows: Count as many rows as the paper's tasks have as published, where that is more than are at hand;
            those at hand stand for the lengths of all.

    Raises:
        InputError: The model's configuration, the hardware or a task is not to be had.
    """
    described = describe_model(config.model, dtype=config.dtype)
    model, shape = described.model, Shape.of(described.model)
    chosen = hardware(on, shape, model.dtype, config.device)
    settings, lacking = asked_or_standing_in(config)
    if published_rows:
        settings, counted = with_published_rows(settings)
        lacking += counted
    with tempfile.TemporaryDirectory() as nowhere:  # nothing is measured, and nothing kept
        run = create_run(Path(nowhere) / "run", model={"name": model.name})
        units = study_units(model, run, config, settings)
        found = costs(units, shape, chosen)
    sizes = model.sizes
    about = f"{shape.parameters / 1e9:.3g} billion parameters in {str(model.dtype).removeprefix('torch.')}, "
    about += f"{sizes.n_layers} layers of {sizes.n_heads} heads"
    assumed = (*described.assumed, *lacking, *_notes(chosen))
    return Plan(model.name, about, chosen, _parts(units, found), assumed)


def _parts(units: Sequence[Unit], found: Sequence[Cost]) -> tuple[Part, ...]:
    groups: dict[str, list[Cost]] = {}
    for unit, cost in zip(units, found, strict=True):
        groups.setdefault(_part(unit.names[0]), []).append(cost)
    nothing = Cost("", (), False)
    return tuple(Part(name, len(group), reduce(together, group, nothing)) for name, group in groups.items())


def _part(result: str) -> str:
    return next(name for pattern, name in PARTS.items() if re.match(pattern, result))


def _notes(on: Hardware) -> Iterable[str]:
    """What the numbers rest on."""
    yield (
        f"lengths: the first {SAMPLE} documents of each task at each number of shots stand for all; batches are those "
        "that the measurements make, padding included"
    )
    yield (
        "FLOPs: matrix products, attention over the whole square of queries and keys; pruned models at what is left, "
        "heads gone evenly; what two rankings agree on is run once, and counted twice"
    )
    yield (
        "memory: of the device that holds most, beside Python and libraries; cut matrices stand beside the whole "
        "model, and so do random weights"
    )
    yield "requests, up, down: if every batch were a request to a remote server that sends back results only"
    if on.devices > 1:
        yield f"{on.devices} devices hold the layers one after another, one works at a time: they are as fast as one"
    yield "time: one process, texts tokenised already; comparisons of results run no model and count as nothing"
