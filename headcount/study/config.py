"""The configuration of a study: a TOML file, checked, with a line number for every error in it."""

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from headcount.importance.internal import RankSplit
from headcount.results import InputError
from headcount.study.toml_files import parse_toml, read_toml_text
from headcount.tracing.internal import AblationKind

PRESETS = ("quick", "paper", "smollm2")
GRID_HEAD_PERCENTS = (10, 20, 30, 40, 50, 60, 70)
GRID_FFN_PERCENTS = (10, 20, 30, 40, 50)
FEWEST_SHOTS = 2

HeadKind = Literal["induction", "function_vector", "importance", "gates"]
"""The kinds of heads that are removed as sets."""
Ranking = Literal[
    "token", "example", "drop", "example-mean", "integrated-mean", "oracle", "oracle-mean", "oracle-size",
    "oracle-mean-size", "activation-norm", "prefix-matching", "function-vectors", "gates", "gates-other", "random",
]  # fmt: skip
"""The rankings of heads that are compared."""
HEAD_KINDS: tuple[str, ...] = get_args(HeadKind)
RANKINGS: tuple[str, ...] = get_args(Ranking)

# Strict: true is no number, and neither 1.0 nor "1" is a count.
Percent = Annotated[float, Field(gt=0, le=100, strict=True)]
SetPercent = Annotated[float, Field(gt=0, le=50, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, lt=2**63, strict=True)]  # the seeds that random generators accept
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


def _distinct(values: list[Any]) -> list[Any]:
    """Refuse one order that counts twice, which would make the spread over orders too small, and other repetitions."""
    if len(set(values)) < len(values):
        raise ValueError("expected every seed once" if isinstance(values[0], int) else "expected each kind once")
    return values


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskGroup(_Strict):
    """Tasks with the same options: a `[[tasks]]` table.

    Attributes:
        names: The tasks; see `headcount tasks`.
        shots: Numbers of solved examples before each document; every task is measured at each.
        limit: The number of documents to score, at most; examples are limited by the study's `examples`.
        unseen: True leaves them out of the means over tasks, which are then tested on them.
        prune: True prunes heads and feed-forward networks on them.
        random: True also prunes in random orders, the control.
        recomputed: True also prunes with importance measured again before each step; costly.
        grid: True also prunes heads and feed-forward networks together.
        causes: True also removes sets of heads of each kind and makes verdicts on heads, as `headcount causes` does.
            Needs two shots or more: function vectors are measured with shuffled answers.
        rank: True also compares rankings of heads, as `headcount rank` does; likewise.
        data: A folder with these tasks' rows, or "hub"; the study's if left out.
    """

    names: Annotated[list[str], Field(min_length=1)]
    shots: Annotated[list[Natural], Field(min_length=1)] = [0]
    limit: Count | None = 100
    unseen: bool = False
    prune: bool = True
    random: bool = False
    recomputed: bool = False
    grid: bool = False
    causes: bool = False
    rank: bool = False
    data: Text | None = None

    @model_validator(mode="after")
    def _check_shots(self) -> "TaskGroup":
        if (self.causes or self.rank) and min(self.shots) < FEWEST_SHOTS:
            raise ValueError(f"causes and rank need {FEWEST_SHOTS} shots or more, whose answers can be shuffled")
        return self


class StudyConfig(_Strict):
    """The configuration of a study: everything that is measured on one model.

    Attributes:
        model: A folder, a name on the Hub, smollm2-135m or tiny-opt.
        dtype: Number format of the weights; the checkpoint's own if left out.
        device: Device of the model, such as cuda or auto; the CPU if left out.
        remote: A server that runs the model: "ndif", or an address.
        stream: True leaves the weights on disk and reads them block by block: for models larger than memory.
        memory: Memory that this process may use when it streams, such as "4GiB"; half of the machine's if left out.
        seed: Seed of sequences and shots.
        sequences: The number of sequences of random tokens for the induction scores.
        prefix_definition: The definition of prefix matching.
        control: True also scores random weights.
        atlas: True also measures the head atlas: what every head does on random tokens and on text.
        atlas_text: A file or folder of text for it; the text that ships with headcount if left out.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        data: A folder of task rows, or "hub".
        keep_bos: True keeps BOS in front of contexts that are too long and cut.
        examples: The number of examples for gradients, at most.
        reduction: The reduction of gradients to one number; `token` is the published one.
        rank_split: "train" ranks feed-forward networks on rows apart from those that score the pruned model.
        ablations: Kinds of ablation besides zeros: feed-forward networks are ranked, and parts pruned, by each of them
            too, with the end of each task's train rows as the reference. `patch` needs tasks of two shots or more.
        head_percents: Percentages of heads to prune.
        ffn_percents: Percentages of feed-forward networks to prune.
        kv_groups: True also prunes KV groups, which are heads that share keys and values, by `head_percents`.
        experts: True also scores the experts of mixtures, and prunes them.
        expert_percents: Percentages of experts to prune.
        rankings: Rankings that decide the order of pruning: a task's `own` importance, the `mean` over tasks, or the
            importance of the task that is correlated `most` or `least` with it.
        cross_percents: Percentages to prune by rankings other than a task's own; all of the above if left out.
        random_percents: Percentages to prune in random orders.
        random_seeds: Seeds of the random orders, one order each.
        grid_head_percents: Percentages of heads in the combined grid.
        grid_ffn_percents: Percentages of feed-forward networks in it.
        cause_kinds: Kinds of heads that are removed as sets, in tasks with `causes`.
        cause_percents: The shares of all heads that count as the highest of a kind.
        cause_seeds: Seeds of the random sets beside each set, two or more.
        cause_ablations: The values in the place of removed heads, in tasks with `causes` or `rank`.
        compared_rankings: The rankings that are compared in tasks with `rank`; `token` is always among them.
        top: The share of highest heads whose overlap between tasks is measured.
        tasks: The tasks, in groups.
    """

    model: Text = "smollm2-135m"
    dtype: Text | None = None
    device: Text | None = None
    remote: Text | None = None
    stream: bool = False
    memory: Text | None = None
    seed: Natural = 0
    sequences: Count = 100
    prefix_definition: Literal["successor", "published", "entry-mean", "offset"] = "successor"
    control: bool = True
    atlas: bool = False
    atlas_text: Text | None = None
    profile: Literal["harness", "paper"] = "harness"
    data: Text | None = None
    keep_bos: bool = False
    examples: Count = 100
    reduction: Literal["example", "token", "signed"] = "example"
    rank_split: RankSplit = None
    ablations: Annotated[list[Literal["mean", "resample", "patch"]], AfterValidator(_distinct)] = []
    head_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    ffn_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    kv_groups: bool = False
    experts: bool = False
    expert_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    rankings: list[Literal["own", "mean", "most", "least"]] = ["own", "mean", "most", "least"]
    cross_percents: list[Percent] | None = None
    random_percents: list[Percent] = [30, 50, 70, 90]
    random_seeds: Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)] = [0, 1]
    grid_head_percents: list[Percent] = [*GRID_HEAD_PERCENTS]
    grid_ffn_percents: list[Percent] = [*GRID_FFN_PERCENTS]
    cause_kinds: Annotated[list[HeadKind], Field(min_length=1), AfterValidator(_distinct)] = [*get_args(HeadKind)]
    cause_percents: Annotated[list[SetPercent], Field(min_length=1), AfterValidator(_distinct)] = [2, 5, 10, 20]
    cause_seeds: Annotated[list[Natural], Field(min_length=2), AfterValidator(_distinct)] = [*range(10)]
    cause_ablations: Annotated[list[AblationKind], Field(min_length=1), AfterValidator(_distinct)] = ["zero", "mean"]
    compared_rankings: Annotated[list[Ranking], Field(min_length=1), AfterValidator(_distinct)] = [*get_args(Ranking)]
    top: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.3
    tasks: Annotated[list[TaskGroup], Field(min_length=1)]


def read_config(path: Path | None = None, preset: str | None = None) -> StudyConfig:
    """Return a study's configuration, from a file or a preset: exactly one of the two.

    Args:
        path: A TOML file.
        preset: One of `PRESETS`.

    Raises:
        InputError: Both or neither is passed, there is no such file or preset, or its content is wrong; the message
            names the line.
    """
    if (path is None) == (preset is None):
        raise InputError(
            "expected a configuration file or --preset, " + ("got neither" if path is None else "got both")
        )
    if preset is not None:
        if preset not in PRESETS:
            raise InputError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        text = files("headcount.study").joinpath("presets", f"{preset}.toml").read_text(encoding="utf-8")
        return parse_config(text, f"preset {preset}")
    return parse_config(read_toml_text(Path(str(path))), str(path))


def parse_config(text: str, source: str) -> StudyConfig:
    """Return a study's configuration from the text of a TOML file.

    Raises:
        InputError: It is not TOML, or has an unknown key or a wrong value; the message names `source` and the line.
    """
    try:
        return StudyConfig.model_validate(parse_toml(text, source))
    except ValidationError as error:
        raise InputError(_explain(error, text, source)) from error


def _explain(error: ValidationError, text: str, source: str) -> str:
    """The first error with its line; a misspelt key rather than the key that is missing because of it."""
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    path = first["loc"]
    place = f"{source}, line {_line(text, path)}"
    name = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        known = TaskGroup if "tasks" in path else StudyConfig
        return f"{place}: there is no setting {name!r}; expected one of {', '.join(known.model_fields)}"
    if first["type"] == "missing":
        return f"{source}: {name} is missing: add it"
    return f"{place}: {name}: {first['msg']}, got {_short(first['input'])}"


def _line(text: str, path: tuple[int | str, ...]) -> int:
    """The line of a key: the first line of its table that sets it."""
    lines = text.splitlines()
    start = 0
    for table, index in pairwise(path):
        headers = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{table}\s*\]\]", line)]
        if isinstance(index, int) and index < len(headers):
            start = headers[index]
    key = re.escape([part for part in path if isinstance(part, str)][-1])
    matches = (number for number in range(start, len(lines)) if re.match(rf"\s*\"?{key}\"?\s*=", lines[number]))
    return next(matches, start) + 1


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
