"""The sections on how the runs were made, and on what they do not show."""

from collections.abc import Iterable
from typing import Any

from headcount.results import ResultName
from page import text
from page.kinds import mean_table
from page.runs import TITLES, ModelRun

KINDS_OF_ABLATION = ("zero", "mean", "resample", "patch")


def made_by(runs: list[ModelRun]) -> str:
    """Return the commands that make the runs again."""
    lines = []
    for run in runs:
        for folder, command in (("causes", "causes"), ("areas", "rank")):
            entries = _provenances(run, folder)
            if entries:
                lines.append(_command(run, command, entries))
        for name, scores in run.paths.items():
            head, side, path = name.split("-")
            n = scores.provenance.get("n_sequences", scores.n)
            options = f"--head {head} --on {side} --path {path} --sequences {n}"
            lines.append(f"headcount paths --model MODEL {_dtype(run)}{options} --out DIR/{run.name}")
    commands = "\n".join(lines) or "(none yet)"
    return f"```\n{commands}\n```"


def _command(run: ModelRun, command: str, entries: list[tuple[ResultName, dict[str, Any]]]) -> str:
    first = entries[0][1]
    settings = dict.fromkeys(name.setting for name, _ in entries if name.setting is not None)
    words = [f"headcount {command} --model MODEL {_dtype(run)}--task"]
    words += dict.fromkeys(setting.task for setting in settings)
    words += ["--shots", *dict.fromkeys(str(setting.shots) for setting in settings)]
    words += ["--limit", str(first.get("limit", "none"))] + (
        ["--keep-bos"] if "keep-bos" in str(first.get("encoding")) else []
    )
    words += ["--ablations", *dict.fromkeys(name.ablation for name, _ in entries)]
    others = first.get("means_over", [])
    words += ["--reference", *others] if set(others) - {setting.task for setting in settings} else []
    if command == "causes":
        words += ["--percents", *(f"{percent:g}" for percent in first.get("percents", []))]
        words += ["--random-seeds", *map(str, first.get("random_seeds", []))]
    return " ".join([*words, "--out", f"DIR/{run.name}"])


def _dtype(run: ModelRun) -> str:
    dtype = run.run.manifest["model"].get("dtype")
    return f"--dtype {dtype} " if dtype else ""


def _provenances(run: ModelRun, folder: str) -> list[tuple[ResultName, dict[str, Any]]]:
    names = [ResultName.parse(name) for name in run.run.names if name.startswith(f"{folder}/")]
    return [(name, run.results[str(name)].provenance) for name in names if name is not None]


def models(runs: list[ModelRun]) -> str:
    """Return a table of the models."""
    rows = []
    for run in runs:
        model, sizes = run.run.manifest["model"], run.sizes
        heads = f"{sizes['n_layers']} of {sizes['n_heads']}" if sizes else "n/a"
        rows.append(
            [
                f"`{run.name}`",
                str(model.get("name", "n/a")),
                heads,
                str(model.get("dtype", "n/a")),
                str(model.get("fingerprint", "n/a")),
            ]
        )
    return text.table(["run", "model", "layers of heads", "number format", "fingerprint of the weights"], rows)


def section(runs: list[ModelRun]) -> str:
    """Return the list of what was not shown."""
    sentences = [sentence for run in runs for sentence in _of_run(run)]
    sentences += [
        "Two small models at most: nothing is said of larger ones, where Yin and Steinhardt see the difference between "
        "the kinds grow."
        if len(runs) > 1
        else "One small model: nothing is said of others.",
        "Verdicts are on the highest 5 % of each kind: a head that no kind ranks so high has none. A set is chosen by "
        "one score each (prefix matching; the first-order function-vector effect; importance by `example`; gates of "
        "two seeds): other definitions may choose other heads.",
        "Standard errors are over documents and draws of random sets. The scores that choose the heads were measured "
        "once: their own noise is in no interval.",
        "Many rows are compared. Single stars are not corrected for that; verdicts on heads are, within a table.",
        "Whether function-vector heads begin as induction heads in training was not tried: it needs checkpoints.",
    ]
    return text.paragraphs("## What was not shown", text.bullets(sentences))


def _of_run(run: ModelRun) -> Iterable[str]:
    if not run.ablations:
        yield f"{run.title}: sets of heads."
    missing = [kind for kind in KINDS_OF_ABLATION if kind not in run.ablations]
    if run.ablations and missing:
        yield f"{run.title}: sets of heads under {text.listed(missing)} ablation."
    for ablation in run.ablations:
        effects = run.effects(ablation)
        kinds = {kind for of_task in effects.values() for kind in of_task.kinds}
        if unmeasured := [title for kind, title in TITLES.items() if kind not in kinds]:
            yield f"{run.title}, {ablation} ablation: sets of heads by {text.listed(unmeasured)}."
        documents = sorted({of_task.n for of_task in effects.values()})
        draws = sorted({of_task.gold_log_p.shape[1] - 1 for of_task in effects.values()})
        errors = mean_table(run, ablation)
        largest = (
            errors.xs("exact_match", level="measure")["beyond_random_stderr"].max() if len(errors) else float("nan")
        )
        yield (
            f"{run.title}, {ablation} ablation: {_numbers(documents)} documents a task and {_numbers(draws)} random "
            f"sets beside each set; a loss of exact match below {text.number(2 * largest)} (two of the largest "
            "standard errors) may be missed."
        )
        without = [str(setting) for setting in effects if setting not in run.verdicts(ablation)]
        if without:
            yield f"{run.title}, {ablation} ablation: verdicts on heads in {text.listed(without)}."
        ranked = {setting for kind in run.ranked_by for setting in run.areas(kind)}
        if ranked and (unranked := [str(setting) for setting in effects if setting not in ranked]):
            yield f"{run.title}: rankings on {text.listed(unranked)}."
    shots = sorted({setting.shots for ablation in run.ablations for setting in run.effects(ablation)})
    if shots:
        numbers = text.listed(map(str, shots))
        yield f"{run.title}: other numbers of shots than {numbers}, other seeds of documents and shots than one."
    dtype = run.run.manifest["model"].get("dtype")
    if dtype and dtype != "float32":
        yield f"{run.title}: the same in float32; the run is in {dtype}."
    if not run.paths:
        yield f"{run.title}: paths between heads."
    if not run.ranked_by:
        yield f"{run.title}: rankings, and so the paper's 70 %."


def _numbers(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
