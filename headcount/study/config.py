"""What a study measures: a TOML file, checked, with a line number for whatever is wrong in it."""

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from headcount.importance.measure import RankSplit
from headcount.results import InputError
from headcount.study import toml_files

PRESETS = ("quick", "paper", "smollm2")
# Strict: true is no number, and 1.0 or "1" no count.
Percent = Annotated[float, Field(gt=0, le=100, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, lt=2**63, strict=True)]  # what random generators take as a seed
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]


def _distinct(seeds: list[int]) -> list[int]:
    """One order that counts twice would make the spread over orders too small."""
    if len(set(seeds)) < len(seeds):
        raise ValueError("expected every seed once")
    return seeds


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tasks(_Strict):
    """Some tasks that are asked alike.

    Attributes:
        names: The tasks; see `headcount tasks`.
        shots: Solved examples in front of each document: a number of shots each.
        limit: Documents that are scored at most; examples are limited by the study's `examples`.
        unseen: Whether they stay out of the means over tasks, which are then tried on them.
        prune: Whether heads and feed-forward networks are removed on them.
        random: Whether removal in random orders is measured too, the control.
        recomputed: Whether importance is measured again before each step, too; costly.
        grid: Whether heads and feed-forward networks are removed together, too.
        data: A folder with these tasks' rows, or "hub"; the study's own if left out.
    """

    names: Annotated[list[str], Field(min_length=1)]
    shots: Annotated[list[Natural], Field(min_length=1)] = [0]
    limit: Count | None = 100
    unseen: bool = False
    prune: bool = True
    random: bool = False
    recomputed: bool = False
    grid: bool = False
    data: Text | None = None


class Study(_Strict):
    """Everything that is measured on one model.

    Attributes:
        model: A folder, a name on the Hub, smollm2-135m or tiny-opt.
        dtype: Number format of the weights; the checkpoint's own if left out.
        device: Where to put the model, such as cuda or auto; the CPU if left out.
        remote: A server that runs the model: "ndif", or an address.
        stream: Whether the weights stay on disk and are read block by block: for models larger than memory.
        memory: What this process may hold when it streams, such as "4GiB"; half of the machine's if left out.
        seed: Seed of sequences and shots.
        sequences: Sequences of random tokens for the induction scores.
        prefix_definition: Which definition of prefix matching.
        control: Whether random weights are scored, too.
        profile: Prompts of today's evaluation harness, or of the one that the paper used.
        data: A folder of task rows, or "hub".
        examples: Examples that gradients are taken on, at most.
        reduction: How gradients become one number.
        rank_split: "train" ranks feed-forward networks on rows apart from those that score the pruned model.
        head_percents: Shares of heads that are removed.
        ffn_percents: Shares of feed-forward networks that are removed.
        rankings: What decides who goes: a task's `own` importance, the `mean` over tasks, or the importance of the
            task that is correlated `most` or `least` with it.
        cross_percents: Shares that are removed by rankings other than a task's own; all of the above if left out.
        random_percents: Shares that are removed in random orders.
        random_seeds: One random order each.
        grid_head_percents: Shares of heads in the combined grid.
        grid_ffn_percents: Shares of feed-forward networks in it.
        top: The share of highest heads whose overlap between tasks is measured.
        tasks: The tasks.
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
    profile: Literal["harness", "paper"] = "harness"
    data: Text | None = None
    examples: Count = 100
    reduction: Literal["token", "example", "signed"] = "token"
    rank_split: RankSplit = None
    head_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    ffn_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    rankings: list[Literal["own", "mean", "most", "least"]] = ["own", "mean", "most", "least"]
    cross_percents: list[Percent] | None = None
    random_percents: list[Percent] = [30, 50, 70, 90]
    random_seeds: Annotated[list[Natural], Field(min_length=1), AfterValidator(_distinct)] = [0, 1]
    grid_head_percents: list[Percent] = [10, 20, 30, 40, 50, 60, 70]
    grid_ffn_percents: list[Percent] = [10, 20, 30, 40, 50]
    top: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.3
    tasks: Annotated[list[Tasks], Field(min_length=1)]


def read_config(path: Path | None = None, preset: str | None = None) -> Study:
    """A study's configuration, from a file or a preset.

    Args:
        path: A TOML file.
        preset: One of `PRESETS`; exactly one of the two is given.

    Raises:
        InputError: Both or neither is given, there is no such file or preset, or it is not what it should be; the
            message names the line.
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
    return parse_config(toml_files.read(Path(str(path))), str(path))


def parse_config(text: str, source: str) -> Study:
    """A study's configuration from the text of a TOML file.

    Raises:
        InputError: It is no TOML, or has an unknown key or a wrong value; the message names `source` and the line.
    """
    try:
        return Study.model_validate(toml_files.parse(text, source))
    except ValidationError as error:
        raise InputError(_explained(error, text, source)) from error


def _explained(error: ValidationError, text: str, source: str) -> str:
    """The first thing that is wrong, with its line; a key misspelt rather than the one that is missing for it."""
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    path = first["loc"]
    place = f"{source}, line {_line(text, path)}"
    name = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        known = Tasks if "tasks" in path else Study
        return f"{place}: there is no setting {name!r}; expected one of {', '.join(known.model_fields)}"
    if first["type"] == "missing":
        return f"{source}: {name} is missing: add it"
    return f"{place}: {name}: {first['msg']}, got {_short(first['input'])}"


def _line(text: str, path: tuple[int | str, ...]) -> int:
    """The line on which a setting stands: of the table that it is in, the first one that sets it."""
    lines = text.splitlines()
    start = 0
    for table, index in pairwise(path):
        heads = [number for number, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{table}\s*\]\]", line)]
        if isinstance(index, int) and index < len(heads):
            start = heads[index]
    keys = [part for part in path if isinstance(part, str)]
    named = (
        number for number in range(start, len(lines)) if re.match(rf"\s*\"?{re.escape(keys[-1])}\"?\s*=", lines[number])
    )
    return next(named, start) + 1


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
