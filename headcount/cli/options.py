"""What several commands ask for alike, and what they make of it."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

if TYPE_CHECKING:
    from headcount.importance.tasks.setup import TaskSetup
    from headcount.study.target import Target

# The rooms import torch and transformers, which takes seconds: they are imported when something runs.

Json = Annotated[bool, Parameter(name="--json", negative="")]
Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]


def _spoken(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _whole(kind: Any, tokens: Sequence[Token]) -> Any:
    """Whole numbers as they are typed: left to itself, cyclopts takes 1.5 for 2.

    Raises:
        ValueError: One is none.
    """
    for token in tokens:
        if re.fullmatch(r"[+-]?[0-9]+", token.value) is None:
            raise ValueError(f"expected a whole number, got {token.value}")
    found = [int(token.value) for token in tokens]
    return found[0] if kind is int else tuple(found)


Whole = Annotated[int, Parameter(converter=_whole)]
Counts = Annotated[
    tuple[int, ...], Parameter(consume_multiple=True, negative="", show_default=_spoken, converter=_whole)
]
Percents = Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative="", show_default=_spoken)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """The model that is measured, and the run that takes the results.

    Attributes:
        out: Run directory to write to: a new one, or one with a run of the same model.
        model: A folder, a name on the Hub, tiny-opt or smollm2-135m (fetched on first use); left out, it is the
            study's, or smollm2-135m.
        dtype: Number format of the weights, such as bfloat16; the checkpoint's own if left out.
        device: Where to put the model, such as cuda or auto; the CPU if left out.
        remote: Run the model on a server that has it: `ndif` (with the variables NDIF_API_KEY and NDIF_HOST), or an
            address. Nothing of its weights is read here.
        stream: Leave the weights on disk and read them block by block: for models larger than memory.
        memory: What this process may hold when it streams, such as 4GiB; half of the machine's if left out.
    """

    out: Path
    model: str | None = None
    dtype: str | None = None
    device: str | None = None
    remote: str | None = None
    stream: Annotated[bool, Parameter(negative="")] = False
    memory: str | None = None

    def target(self) -> "Target":
        """Return the same for the study, which knows no command line."""
        from headcount.study.target import Target

        return Target(**asdict(self))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Questions:
    """The tasks that are asked, and how.

    Attributes:
        task: Tasks by name; `headcount tasks` lists them.
        shots: Solved examples in front of each question; the paper takes 0, 1 and 5.
        limit: Documents (to score) and examples (for gradients) at most; the paper takes up to 2,500 examples.
        data: A folder with TASK.jsonl and TASK.train.jsonl, or `hub`; see `headcount tasks` for where rows come from.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        seed: Seed of the shots.
    """

    task: Names
    shots: Counts = (0,)
    limit: Whole = 100
    data: str | None = None
    profile: Literal["harness", "paper"] = "harness"
    seed: Whole = 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a study is spread over processes and machines; see docs/clusters.md.

    Attributes:
        ray: Spread it over a Ray cluster: its address, `auto` on a machine of one, or `local` for the cores here.
        gpus_per_model: GPUs that each worker's model takes (with --ray); as many workers run as the cluster holds.
        cpus_per_model: CPU cores that each worker takes (with --ray).
        shard: Measure only this share of it, such as 3/16: the other shares are other processes', which write to the
            same run directory.
    """

    ray: str | None = None
    gpus_per_model: float = 0.0
    cpus_per_model: Whole = 1
    shard: str | None = None


HERE = Spread()
"""One process, one machine."""


def check_spread(spread: Spread, remote: str | None, *, dry_run: bool) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: They do not.
    """
    from headcount.results import InputError

    if spread.ray and spread.shard:
        raise InputError("--ray and --shard exclude each other: a cluster divides the study by itself")
    if remote and (spread.ray or spread.shard):
        raise InputError("--ray and --shard spread a model over machines: with --remote, a server has it")
    if spread.ray and dry_run:
        raise InputError("--dry-run measures nothing: expected no --ray with it")
    if not spread.ray and spread != replace(HERE, shard=spread.shard):
        raise InputError("--gpus-per-model and --cpus-per-model are for --ray: expected --ray with them")


def settings_of(questions: Questions, place: Place, splits: tuple[str, ...] = ("scored", "train")) -> list["TaskSetup"]:
    """Every task at every number of shots; whatever is wrong with them is said before a model is loaded."""
    from headcount.results import check_folder
    from headcount.study.measure import load_settings

    check_folder(place.out)
    check_at_least("--limit", questions.limit, 1)
    check_seed("--seed", questions.seed)
    for count in questions.shots:
        check_at_least("--shots", count, 0)
    tasks, shots = dict.fromkeys(questions.task), dict.fromkeys(questions.shots)
    return load_settings(tasks, shots, questions.limit, questions.data, questions.profile, questions.seed, splits)


def check_at_least(option: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        InputError: It is.
    """
    from headcount.results import InputError

    if value < least:
        raise InputError(f"{option} must be {least} or more, not {value}")


def check_seed(option: str, seed: int) -> None:
    """Refuse a seed that random generators do not take.

    Raises:
        InputError: It is.
    """
    from headcount.results import InputError

    check_at_least(option, seed, 0)
    if seed >= 2**63:
        raise InputError(f"{option} must be below 2^63, not {seed}")


def check_seeds(option: str, seeds: Sequence[int]) -> None:
    """Refuse no seed at all, and one that is there twice: one order that counts twice makes their spread too small.

    Raises:
        InputError: There is none, or one is refused.
    """
    from headcount.results import InputError

    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"{option} must be numbers, each once, not {' '.join(map(str, seeds)) or 'none'}")
    for seed in seeds:
        check_seed(option, seed)


def check_percents(option: str, percents: Sequence[float]) -> None:
    """Refuse shares that nothing can be removed by.

    Raises:
        InputError: One is not above 0 and at most 100.
    """
    from headcount.results import InputError

    for percent in percents:
        if not 0 < percent <= 100:  # NaN is not, either
            raise InputError(f"{option} must be above 0 and at most 100, not {percent:g}")
