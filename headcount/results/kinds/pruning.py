"""Accuracy on a task as parts of the model are removed: along one ranking, or along two at once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.results.errors import InputError
from headcount.results.kinds.accuracy import beats_guessing, mean_and_stderr
from headcount.results.storage import checks, field_types
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = ("heads", "ffns", "kv_groups", "experts")
STRATEGIES = ("static", "recomputed", "random")


class _Pruning(Stored):
    """The base of curve and grid: the answers to all documents at every point, axes of points first."""

    correct: Float[Tensor, "*axes unit"]
    gold_log_p: Float[Tensor, "*axes document"]
    margin: Float[Tensor, "*axes document"]
    greedy: Float[Tensor, "*axes document"] | None
    chance: float
    majority: float
    provenance: dict[str, Any]

    @property
    def n(self) -> int:
        """The number of units that are right or wrong."""
        return self.correct.shape[-1]

    @property
    def beats_guessing(self) -> bool:
        """True if the whole model exceeds chance and majority by more than two standard errors."""
        value, stderr = mean_and_stderr(self.correct[0, 0])
        return beats_guessing(float(value), float(stderr), self.chance, self.majority)

    def _means(self) -> dict[str, Float[Tensor, "*axes"]]:
        """Return the means over documents of what is not counted in units."""
        log_p = self.gold_log_p.mean(-1)
        greedy = torch.full_like(log_p, torch.nan) if self.greedy is None else self.greedy.mean(-1)
        return {"gold_log_p": log_p, "margin": self.margin.mean(-1), "exact_match": greedy}

    def _adopt_answers(self, axes: list[str], sizes: list[int]) -> None:
        self._adopt("correct", [*axes, "unit"], [*sizes, None])
        self._adopt("gold_log_p", [*axes, "document"], [*sizes, None])
        self._adopt("margin", [*axes, "document"], list(self.gold_log_p.shape))
        self._adopt("greedy", [*axes, "document"], list(self.gold_log_p.shape), optional=True)


@dataclass(frozen=True, eq=False, repr=False)
class PruningCurve(_Pruning):
    """Accuracy against the share of heads, feed-forward networks, KV groups or experts that are removed.

    Attributes:
        component: `"heads"`, `"ffns"`, `"kv_groups"` or `"experts"`.
        strategy: `"static"` (one ranking), `"recomputed"` (ranked again before each step) or `"random"`.
        percents: The share of parts that each step removes, ascending from 0.
        removed: The number of parts removed: floor(percent · parts / 100).
        parameters: The number of their parameters, in the mean over seeds where orders are random.
        seeds: One for each random order; a single 0 for the others.
        order: For each seed, all parts in the order of their removal, as flat indices, [layer * head] say.
        correct: 1 for each unit that is right, at each step.
        gold_log_p: Log-probability of each document's right continuation, in nats.
        margin: That less the best wrong one; NaN where there is none.
        chance: The accuracy of guessing.
        majority: The accuracy of always giving the most frequent answer; NaN where answers have no common names.
        greedy: 1 for each document that greedy decoding gets right, as in `Accuracy`; None in results of earlier
            versions.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, a word is unknown, or shapes or counts do not fit.
    """

    component: str
    strategy: str
    percents: tuple[float, ...]
    removed: tuple[int, ...]
    parameters: tuple[float, ...]
    seeds: tuple[int, ...]
    order: Float[Tensor, "seed part"]
    correct: Float[Tensor, "seed step unit"]
    gold_log_p: Float[Tensor, "seed step document"]
    margin: Float[Tensor, "seed step document"]
    chance: float
    majority: float
    greedy: Float[Tensor, "seed step document"] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        checks.check_one_of("component", self.component, COMPONENTS)
        checks.check_one_of("strategy", self.strategy, STRATEGIES)
        self._copy_fields()
        seeds, steps = len(self.seeds), len(self.percents)
        self._adopt("order", ["seed", "part"], [seeds, None])
        self._adopt_answers(["seed", "step"], [seeds, steps])
        _check_steps({"removed": self.removed, "parameters": self.parameters}, steps)

    @property
    def value(self) -> Float[Tensor, " step"]:
        """Accuracy at each step, the mean over seeds."""
        return self.correct.mean((0, 2))

    @property
    def stderr(self) -> Float[Tensor, " step"]:
        """Its standard error over units; orders are taken as they are, see `spread`."""
        return mean_and_stderr(self.correct.mean(0))[1]

    @property
    def spread(self) -> Float[Tensor, " step"]:
        """Standard deviation of the accuracy over random orders; NaN where there is a single one."""
        return self.correct.mean(-1).std(0)

    @property
    def exact_match(self) -> tuple[Float[Tensor, " step"], Float[Tensor, " step"]] | None:
        """The share of documents that greedy decoding gets right at each step, the mean over seeds, and its error."""
        return None if self.greedy is None else mean_and_stderr(self.greedy.mean(0))

    @property
    def drop(self) -> Float[Tensor, " step"]:
        """Accuracy of the whole model less that of each step."""
        return mean_and_stderr(self._drops(self.correct))[0]

    @property
    def drop_stderr(self) -> Float[Tensor, " step"]:
        """Its standard error, from the paired differences of the units."""
        return mean_and_stderr(self._drops(self.correct))[1]

    @property
    def lost_log_p(self) -> tuple[Float[Tensor, " step"], Float[Tensor, " step"]]:
        """The fall of the gold log-probability in nats, the mean over documents, and its standard error."""
        return mean_and_stderr(self._drops(self.gold_log_p))

    def _drops(self, values: Float[Tensor, "seed step unit"]) -> Float[Tensor, "step unit"]:
        return (values[:, :1] - values).mean(0)

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a seed and step.

        Returns:
            Columns: `seed`, `percent`, `removed`, `parameters`, `value`, `stderr`, `drop`, `drop_stderr`, and the means
            over documents `gold_log_p`, `margin` and `exact_match` (NaN in results of earlier versions).
        """
        import pandas as pd

        value, stderr = mean_and_stderr(self.correct)
        drop, drop_stderr = mean_and_stderr(self.correct[:, :1] - self.correct)
        columns = {"value": value, "stderr": stderr, "drop": drop, "drop_stderr": drop_stderr}
        columns |= self._means()
        steps = {"percent": self.percents, "removed": self.removed, "parameters": self.parameters}
        return pd.DataFrame(
            {"seed": [seed for seed in self.seeds for _ in self.percents]}
            | {name: list(values) * len(self.seeds) for name, values in steps.items()}
            | {name: values.flatten().numpy() for name, values in columns.items()},
            copy=True,
        )

    def __repr__(self) -> str:
        task = self.provenance.get("task", "")
        return (
            f"PruningCurve({task}, {self.component}, {self.strategy}: accuracy {float(self.value[0]):.3f} whole, "
            f"{float(self.value[-1]):.3f} without {self.percents[-1]:g} %)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class PruningGrid(_Pruning):
    """Accuracy as feed-forward networks and heads are removed together, each along its own ranking.

    Attributes:
        ffn_percents: The share of feed-forward networks that is removed, down the grid.
        head_percents: The share of heads, across it.
        parameters: The number of parameters removed, [ffn step, head step].
        correct: 1 for each unit that is right.
        gold_log_p: Log-probability of each document's right continuation, in nats.
        margin: That less the best wrong one; NaN where there is none.
        chance: The accuracy of guessing.
        majority: The accuracy of always giving the most frequent answer; NaN where answers have no common names.
        greedy: 1 for each document that greedy decoding gets right, as in `Accuracy`; None in results of earlier
            versions.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, or shapes or counts do not fit.
    """

    ffn_percents: tuple[float, ...]
    head_percents: tuple[float, ...]
    parameters: tuple[tuple[float, ...], ...]
    correct: Float[Tensor, "ffn head unit"]
    gold_log_p: Float[Tensor, "ffn head document"]
    margin: Float[Tensor, "ffn head document"]
    chance: float
    majority: float
    greedy: Float[Tensor, "ffn head document"] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        self._copy_fields()
        sizes = [len(self.ffn_percents), len(self.head_percents)]
        self._adopt_answers(["ffn", "head"], sizes)
        _check_steps({"parameters": self.parameters}, sizes[0])
        for row in self.parameters:
            _check_steps({"a row of parameters": row}, sizes[1])

    @property
    def value(self) -> Float[Tensor, "ffn head"]:
        """Accuracy at each point of the grid."""
        return self.correct.mean(-1)

    @property
    def stderr(self) -> Float[Tensor, "ffn head"]:
        """Its standard error over units."""
        return mean_and_stderr(self.correct)[1]

    @property
    def drop(self) -> Float[Tensor, "ffn head"]:
        """Accuracy of the whole model less that of each point."""
        return self.value[0, 0] - self.value

    @property
    def drop_stderr(self) -> Float[Tensor, "ffn head"]:
        """Its standard error, from the paired differences of the units."""
        return mean_and_stderr(self.correct[:1, :1] - self.correct)[1]

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row a point.

        Returns:
            Columns: `ffn_percent`, `head_percent`, `parameters`, `value`, `stderr`, `drop`, `drop_stderr`, and the
            means over documents `gold_log_p`, `margin` and `exact_match` (NaN in results of earlier versions).
        """
        import pandas as pd

        points = [(ffn, head) for ffn in self.ffn_percents for head in self.head_percents]
        columns = {"value": self.value, "stderr": self.stderr, "drop": self.drop, "drop_stderr": self.drop_stderr}
        columns |= self._means()
        return pd.DataFrame(
            {"ffn_percent": [ffn for ffn, _ in points], "head_percent": [head for _, head in points]}
            | {"parameters": [count for row in self.parameters for count in row]}
            | {name: values.flatten().numpy() for name, values in columns.items()},
            copy=True,
        )

    def __repr__(self) -> str:
        task = self.provenance.get("task", "")
        return (
            f"PruningGrid({task}: accuracy {float(self.value[0, 0]):.3f}, {float(self.value[-1, -1]):.3f} without "
            f"{self.ffn_percents[-1]:g} % of FFNs and {self.head_percents[-1]:g} % of heads)"
        )


def _check_steps(lists: dict[str, tuple[Any, ...]], steps: int) -> None:
    for name, values in lists.items():
        if len(values) != steps:
            raise InputError(f"{name}: expected {steps} entries, one a step, got {len(values)}")
