"""Options that several commands share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from headcount.cli.checks import check_at_least, check_seed
from headcount.target import Target

if TYPE_CHECKING:
    from headcount.importance.internal import TaskSetup


def _with_spaces(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _whole(kind: Any, tokens: Sequence[Token]) -> Any:
    """Whole numbers as they are typed: cyclopts itself would take 1.5 for 2.

    Raises:
        ValueError: A token is not a whole number.
    """
    for token in tokens:
        if re.fullmatch(r"[+-]?[0-9]+", token.value) is None:
            raise ValueError(f"expected a whole number, got {token.value}")
    numbers = [int(token.value) for token in tokens]
    return numbers[0] if kind is int else tuple(numbers)


Ablation = Literal["zero", "mean", "resample", "patch"]
Json = Annotated[bool, Parameter(name="--json", negative="")]
Flag = Annotated[bool, Parameter(negative="")]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Whole = Annotated[int, Parameter(converter=_whole)]
WholeNumbers = Annotated[
    tuple[int, ...], Parameter(consume_multiple=True, negative="", show_default=_with_spaces, converter=_whole)
]
Percents = Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative="", show_default=_with_spaces)]
TargetOptions = Annotated[Target, Parameter(name="*", negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The tasks, and the form in which they are evaluated.

    Attributes:
        task: Tasks by name; `headcount tasks` lists them.
        shots: Solved examples before each question; the paper takes 0, 1 and 5.
        limit: The number of documents (to score) and of examples (for gradients), at most; the paper takes up to 2,500
            examples.
        data: A folder with TASK.jsonl and TASK.train.jsonl, or `hub`; `headcount tasks` lists the sources of rows.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        seed: Seed of the shots.
        keep_bos: Keep the token that begins a text in front of contexts that are too long and cut; for models, such as
            Gemma, that cannot do without it.
    """

    task: Names
    shots: WholeNumbers = (0,)
    limit: Whole = 100
    data: str | None = None
    profile: Literal["harness", "paper"] = "harness"
    seed: Whole = 0
    keep_bos: Flag = False

    def load(self, splits: tuple[str, ...] = ("scored", "train")) -> list["TaskSetup"]:
        """Load every task at every number of shots; errors in them are found before a model is loaded."""
        from headcount.study import load_setups

        check_at_least("--limit", self.limit, 1)
        check_seed("--seed", self.seed)
        for number in self.shots:
            check_at_least("--shots", number, 0)
        tasks, shots = dict.fromkeys(self.task), dict.fromkeys(self.shots)
        options = (self.limit, self.data, self.profile, self.seed, splits)
        return load_setups(tasks, shots, *options, keep_bos=self.keep_bos)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The processes and machines over which a study is spread; see docs/clusters.md.

    Attributes:
        ray: Spread it over a Ray cluster: its address, `auto` on a machine of one, or `local` for the cores here.
        gpus_per_model: GPUs that each worker's model takes (with --ray); as many workers run as the cluster holds.
        cpus_per_model: CPU cores that each worker takes (with --ray).
        shard: Measure only this share of it, such as 3/16: the other shares are those of other processes, which write
            to the same run directory.
    """

    ray: str | None = None
    gpus_per_model: float = 0.0
    cpus_per_model: Whole = 1
    shard: str | None = None

    def check(self, remote: str | None, *, dry_run: bool) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: They do not.
        """
        from headcount.results import InputError

        if self.ray and self.shard:
            raise InputError("--ray and --shard exclude each other: a cluster divides the study by itself")
        if remote and (self.ray or self.shard):
            raise InputError(
                "--ray and --shard divide a study among processes that each load the model: leave --remote out"
            )
        if self.ray and dry_run:
            raise InputError("--dry-run measures nothing: expected no --ray with it")
        if not self.ray and self != replace(ONE_PROCESS, shard=self.shard):
            raise InputError("--gpus-per-model and --cpus-per-model are for --ray: expected --ray with them")


ONE_PROCESS = ClusterOptions()
