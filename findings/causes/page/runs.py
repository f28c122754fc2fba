"""A run as the page reads it: effects of sets of heads, verdicts, areas under rankings, paths and scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from headcount.results import HeadScores, ResultName, Run, SetEffects, Setting, Table, open_run

Kind = TypeVar("Kind")

TITLES = {
    "induction": "induction",
    "function_vector": "function vector",
    "importance": "importance",
    "gates": "gates",
}
"""The kinds of heads in words; others stand as they are."""


@dataclass(frozen=True)
class ModelRun:
    """The results on one model.

    Attributes:
        name: The folder's name.
        run: Its results.
    """

    name: str
    run: Run

    @classmethod
    def open(cls, folder: Path) -> "ModelRun":
        """Open the run in a folder."""
        return cls(folder.name, open_run(folder))

    @property
    def title(self) -> str:
        """The model's name, without what was done to its weights."""
        return str(self.run.manifest["model"].get("name") or self.name).partition(",")[0]

    @property
    def sizes(self) -> Mapping[str, int]:
        """The shape of the model."""
        sizes: Mapping[str, int] = self.run.manifest["model"].get("sizes", {})
        return sizes

    @cached_property
    def results(self) -> dict[str, Any]:
        """Every result by name."""
        return {name: self.run[name] for name in self.run.names}

    @cached_property
    def ablations(self) -> list[str]:
        """The kinds of ablation by which sets of heads were removed."""
        return sorted({name.ablation for name in self._names("causes/")})

    def effects(self, ablation: str) -> dict[Setting, SetEffects]:
        """Return the effects of sets of heads by setting."""
        return self._by_setting("causes", ablation, SetEffects)

    def solved(self, ablation: str) -> dict[Setting, SetEffects]:
        """Return the effects in the settings that the whole model can do: exact match is 0 by no two errors."""
        return {setting: effects for setting, effects in self.effects(ablation).items() if can_do(effects)}

    def verdicts(self, ablation: str) -> dict[Setting, Table]:
        """Return the verdicts on single heads by setting."""
        return self._by_setting("verdicts", ablation, Table)

    @cached_property
    def ranked_by(self) -> list[str]:
        """The kinds of ablation by which rankings were compared."""
        return sorted({name.ablation for name in self._names("areas/")})

    def areas(self, ablation: str) -> dict[Setting, Table]:
        """Return the areas under rankings by setting."""
        return self._by_setting("areas", ablation, Table)

    @cached_property
    def paths(self) -> dict[str, HeadScores]:
        """The heads that feed a head, by the name of the path."""
        return {name.topic: self.results[str(name)] for name in self._names("paths/")}

    @cached_property
    def prefix_matching(self) -> HeadScores | None:
        """The induction score of every head."""
        return self.results.get(str(ResultName.induction("prefix_matching")))

    def function_vectors(self) -> dict[Setting, HeadScores]:
        """Return the function-vector effect of every head by setting, means over tasks left out."""
        names = [name for name in self._names("importance/function-vectors/") if name.setting is not None]
        return {name.setting: self.results[str(name)] for name in names if name.setting and not name.setting.is_mean}

    def _by_setting(self, folder: str, ablation: str, kind: type[Kind]) -> dict[Setting, Kind]:
        names = [name for name in self._names(f"{folder}/{ablation}/") if name.setting is not None]
        pairs = {name.setting: self.results[str(name)] for name in names if name.setting is not None}
        return {setting: result for setting, result in pairs.items() if isinstance(result, kind)}

    def _names(self, start: str) -> list[ResultName]:
        names = [ResultName.parse(name) for name in self.run.names if name.startswith(start)]
        return [name for name in names if name is not None]


def can_do(effects: SetEffects) -> bool:
    """Return True if the whole model's exact match lies above 0 by two standard errors."""
    values = effects.whole_answers("exact_match").double()
    return bool(values.mean() > 2 * values.std() / len(values) ** 0.5)


def kind_title(kind: str) -> str:
    """Return a kind of heads in words."""
    return TITLES.get(kind, kind.replace("_", " "))


def label(layer: int, head: int) -> str:
    """Return a head's name, such as L18H6."""
    return f"L{layer}H{head}"
