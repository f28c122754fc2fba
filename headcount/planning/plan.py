"""The plan of a study: its costs, before any weight is loaded."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from headcount.importance.internal import SAMPLE
from headcount.planning.costs import Cost
from headcount.planning.hardware import Hardware, choose_hardware
from headcount.planning.layouts import Layout, choose_layout
from headcount.planning.plan_tasks import load_or_replace_tasks, with_published_rows
from headcount.planning.shape import Shape
from headcount.results import ResultName, create_run
from headcount.study import StudyConfig, Unit, study_units
from headcount.tracing import describe_model

TITLES = {
    "induction": "induction scores",
    "attention": "attention patterns",
    "control": "random weights",
    "accuracy": "accuracy",
    "importance/heads": "head importance",
    "importance/ffns": "FFN importance",
    "pruning/grid": "removal, both together",
    "importance/function-vectors": "function vectors",
    "importance/gates-facilitating": "gates",
}
"""The row of a plan for units whose first result is in a folder."""
RANKING_TITLES = {
    "own": "removal, own ranking",
    "mean": "removal, other rankings",
    "most": "removal, other rankings",
    "least": "removal, other rankings",
    "random": "removal, random orders",
    "recomputed": "removal, ranked again",
}
"""The row of a plan for units whose first result is a pruning curve along a ranking."""
CAUSE_TITLES = {"causes": "sets of heads", "verdicts": "verdicts on heads", "rank": "curves of rankings"}
"""The row of a plan for units of causes, by the first word of the folder."""
RANKINGS, RANKING = "rankings", "importance/ranking-"
COMPARISONS = "comparisons"
"""The row of units that run no model: means over tasks, analyses, claims."""


@dataclass(frozen=True)
class PlanRow:
    """The units of one kind.

    Attributes:
        name: The kind.
        units: The number of units.
        cost: The cost of all of them.
    """

    name: str
    units: int
    cost: Cost

    def as_values(self) -> dict[str, Any]:
        """Return the row as JSON can hold it."""
        numbers = self.cost._asdict()
        for name in ("title", "names", "done"):
            del numbers[name]
        return {"part": self.name, "units": self.units, **numbers, "memory": self.cost.memory._asdict()}


@dataclass(frozen=True)
class Plan:
    """The costs of a study.

    Attributes:
        model: The model.
        about: Its sizes, for a person.
        on: The hardware.
        layout: The copies of the model that finish first on it.
        rows: The costs of each kind of unit, with one copy of the model on the devices of the layout.
        assumed: Assumptions behind the numbers, and replacements of what is missing here; a sentence each.
    """

    model: str
    about: str
    on: Hardware
    layout: Layout
    rows: tuple[PlanRow, ...]
    assumed: tuple[str, ...]

    @property
    def total(self) -> PlanRow:
        """All units together."""
        return PlanRow("in all", sum(row.units for row in self.rows), _sum(row.cost for row in self.rows))

    def as_values(self) -> dict[str, Any]:
        """Return the plan as JSON can hold it."""
        return {
            "model": self.model,
            "about": self.about,
            "hardware": asdict(self.on),
            "layout": {
                "copies": self.layout.copies,
                "devices_of_a_copy": self.layout.on.devices,
                "seconds": self.layout.seconds,
            },
            "parts": [row.as_values() for row in self.rows],
            "total": self.total.as_values(),
            "assumed": list(self.assumed),
        }


def plan_study(config: StudyConfig, on: str, *, published_rows: bool = False) -> Plan:
    """Return the costs of a study on some hardware.

    Args:
        config: The study.
        on: The hardware, as `choose_hardware` takes it.
        published_rows: True counts as many rows as the paper's tasks have as published, if that is more than are here;
            those here stand for the lengths of all.

    Raises:
        InputError: The model's configuration, the hardware or a task is missing.
    """
    described = describe_model(config.model, dtype=config.dtype)
    model, shape = described.model, Shape.of(described.model)
    chosen = choose_hardware(on, shape, model.dtype, config.device)
    tasks, notes = load_or_replace_tasks(config)
    if published_rows:
        tasks, more = with_published_rows(tasks)
        notes += more
    with tempfile.TemporaryDirectory() as folder:  # nothing is measured, so nothing is stored
        run = create_run(Path(folder) / "run", model={"name": model.name})
        units = study_units(model, run, config, tasks)
        layout = choose_layout(units, run, shape, chosen)
    about = (
        f"{shape.parameters / 1e9:.3g} billion parameters in {str(model.dtype).removeprefix('torch.')}, "
        f"{model.sizes.n_layers} layers of {model.sizes.n_heads} heads"
    )
    assumed = (*described.assumed, *notes, *_assumptions(layout))
    return Plan(model.name, about, chosen, layout, _rows(units, layout.costs), assumed)


def _rows(units: Sequence[Unit], costs: Sequence[Cost]) -> tuple[PlanRow, ...]:
    groups: dict[str, list[Cost]] = {}
    for unit, cost in zip(units, costs, strict=True):
        groups.setdefault(_title(ResultName.parse(unit.names[0])), []).append(cost)
    return tuple(PlanRow(title, len(group), _sum(group)) for title, group in groups.items())


def _title(name: ResultName | None) -> str:
    """The row of a unit, from its first result."""
    if name is None or (name.setting is not None and name.setting.is_mean):
        return COMPARISONS
    if name == ResultName.induction("repeat_loss"):
        return "loss by repeat"
    if title := CAUSE_TITLES.get(name.folder.partition("/")[0]):
        return f"{title}, by {name.ablation}"
    if name.folder.startswith(RANKING):
        return RANKINGS
    folder = name.folder.removesuffix(f"-{name.ablation}")
    title = RANKING_TITLES[name.ranking] if name.ranking else TITLES.get(folder, COMPARISONS)
    return title if folder == name.folder else f"{title}, by {name.ablation}"


def _sum(costs: Iterable[Cost]) -> Cost:
    return reduce(Cost.plus, costs, Cost())


def _assumptions(layout: Layout) -> Iterator[str]:
    yield (
        f"lengths: the first {SAMPLE} documents of each task at each number of shots stand for all; batches are those "
        "of the measurements, padding included"
    )
    yield (
        "FLOPs: matrix products, attention over the whole square of queries and keys; pruned models at the parts that "
        "are left, heads removed evenly; a removal on which two rankings agree is run once, and counted twice"
    )
    yield (
        "memory: of the device that holds most, beside Python and libraries; cut matrices are there beside the whole "
        "model where they leave half of the free memory, else each layer is cut when it runs; random weights take the "
        "place of the model's on a GPU"
    )
    yield "requests, up, down: if every batch were a request to a remote server that sends back results only"
    if layout.on.devices > 1:
        yield (
            f"{layout.on.devices} devices hold the layers of a copy one after another, one works at a time: they are "
            "as fast as one"
        )
    yield (
        "time: of one copy of the model, texts tokenised already; comparisons of results run no model and count as "
        "nothing"
    )
    if layout.copies > 1:
        yield (
            "in all, on the layout: units handed out as by study --ray, opening the models left out; results of "
            "passes that two copies need are computed by both"
        )
