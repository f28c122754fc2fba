"""Commands for a whole study: measure it, or plan its costs."""

from pathlib import Path
from typing import TYPE_CHECKING

from headcount.cli.options import ONE_PROCESS, ClusterOptions, Flag, Json, TargetOptions
from headcount.cli.output import measure_and_print, print_json, print_measured
from headcount.progress import say

if TYPE_CHECKING:
    from headcount.results import Run
    from headcount.study import Unit
    from headcount.tracing import Model


def study(
    config: Path | None = None,
    /,
    *,
    target: TargetOptions,
    cluster: ClusterOptions = ONE_PROCESS,
    preset: str | None = None,
    data: str | None = None,
    dry_run: Flag = False,
    as_json: Json = False,
) -> None:
    """Measure everything on one model: induction scores, importance, pruning, and how all of it compares.

    The order brings a first report early. After an interruption the same command goes on; finished results are not
    measured again.

    Args:
        config: TOML file of the study; `headcount/study/presets` has examples.
        target: The run, and a model other than the configuration's.
        cluster: The processes and machines.
        preset: quick (minutes), smollm2 (hours) or paper (OPT-66B's settings), in place of a file.
        data: A folder of task rows, or `hub`, other than the configuration's.
        dry_run: List the units of work, those that are finished, and about how long the rest will take here.
        as_json: Print the results' names, or the units of work, as JSON.
    """
    from headcount.cluster import Resources, divide_units, measure_on_ray, parse_share
    from headcount.planning import relative_seconds
    from headcount.results import check_folder
    from headcount.study import load_tasks, open_target, read_config, study_target, study_units

    check_folder(target.out)
    study_config = read_config(config, preset).model_copy(update={"data": data} if data else {})
    target = study_target(study_config, target)
    cluster.check(target.remote, dry_run=dry_run)
    share = parse_share(cluster.shard) if cluster.shard else None
    resources = Resources(cluster.gpus_per_model, cluster.cpus_per_model)
    tasks = load_tasks(study_config)  # errors in them are found before a model is loaded or a cluster started
    if cluster.ray:
        return print_measured(*measure_on_ray(cluster.ray, resources, study_config, target), as_json)
    model, run = open_target(target)
    units = study_units(model, run, study_config, tasks)
    here, elsewhere = divide_units(units, relative_seconds(model, units), share) if share else (units, [])
    if dry_run:
        return _print_dry_run(here, run, model, as_json)
    return measure_and_print(here, run, as_json, elsewhere=elsewhere, replace=target.replace)


def plan(
    config: Path | None = None,
    /,
    *,
    preset: str | None = None,
    model: str | None = None,
    hardware: str = "this",
    data: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    published_rows: Flag = False,
    as_json: Json = False,
) -> None:
    """State the costs of a study before any weight is loaded: FLOPs, bytes, memory, requests, hours.

    Only the model's configuration is read, and its tokenizer; the plan lists everything that is missing here, with
    the assumption in its place.

    Args:
        config: TOML file of the study.
        preset: quick, smollm2 or paper, in place of a file.
        model: A model other than the configuration's: a name on the Hub, a folder, or a file like config.json.
        hardware: A known device with its number, such as 8xA100-80GB; a TOML file that describes one; or this, the
            machine itself, which is measured for some seconds.
        data: A folder of task rows, or `hub`, other than the configuration's.
        dtype: A number format of the weights other than the configuration's.
        device: A device for the model other than the configuration's, if the hardware is this machine.
        published_rows: Count as many rows as the paper's tasks have as published; those here stand for their lengths.
        as_json: Print the plan as JSON.
    """
    from headcount.cli.plan_tables import print_plan
    from headcount.planning import plan_study
    from headcount.study import read_config

    options = {"model": model, "data": data, "dtype": dtype, "device": device}
    study_config = read_config(config, preset).model_copy(update={key: text for key, text in options.items() if text})
    study_plan = plan_study(study_config, hardware, published_rows=published_rows)
    if as_json:
        print_json(study_plan.as_values())
    else:
        print_plan(study_plan)


def _print_dry_run(units: list["Unit"], run: "Run", model: "Model", as_json: bool) -> None:
    """The units of a study with their costs on this machine."""
    from headcount.cli.plan_tables import print_units
    from headcount.planning import Shape, measure_this_machine, unit_costs

    shape = Shape.of(model)
    on_several = len(set(getattr(model.hf, "hf_device_map", {}).values())) > 1
    if model.stream is not None:
        size = model.stream.stored_bytes / 1e9
        say(f"time and memory are those of a model in memory; each pass over all sequences also reads {size:.3g} GB")
    device = "auto" if on_several else model.device.type
    costs = unit_costs(units, shape, measure_this_machine(shape, model.dtype, device), run)
    if as_json:
        print_json([cost._asdict() | {"memory": cost.memory._asdict()} for cost in costs])
    else:
        print_units(costs)
