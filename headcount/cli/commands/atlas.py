"""The command that measures the head atlas."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headcount.cli.checks import check_at_least, check_seed
from headcount.cli.options import Flag, Json, Names, TargetOptions, Whole
from headcount.cli.output import measure_and_print, measure_training

if TYPE_CHECKING:
    from headcount.study import Unit


def atlas(
    *,
    target: TargetOptions,
    sequences: Whole = 20,
    text: Path | None = None,
    task: Names = (),
    data: str | None = None,
    seed: Whole = 0,
    control: bool = True,
    written: Flag = False,
    detectors: Path | None = None,
    revisions: Names = (),
    as_json: Json = False,
) -> None:
    """Measure what every head does, on repeated random tokens and on text: previous token, duplicates, induction, ...

    Each score has its error over sequences and a control with random weights; of the text, examples are kept from the
    whole distribution of each score. See docs/atlas.md. After an interruption the same command goes on.

    Args:
        target: The model and the run.
        sequences: The number of sequences of repeated random tokens.
        text: A file of text, or a folder of .txt and .md files; left out, a small text that ships with headcount.
        task: Tasks whose train rows are the text, in place of --text.
        data: A folder of the tasks' rows, or `hub`; `headcount tasks` lists the sources of rows.
        seed: Seed of the random tokens and weights.
        control: Also score the same architecture with random weights.
        written: Also score what heads write: copy suppression, succession, retrieval.
        detectors: A Python file that registers detectors of your own.
        revisions: Checkpoints of a training to measure, each in a run of its own below --out: branches or tags of the
            model on the Hub, or folders, with the training step in their names. over_training.html then shows where the
            highest induction head forms.
        as_json: Print the results' names as JSON.
    """
    from headcount.induction.internal import load_detectors, read_texts
    from headcount.results import InputError, check_folder
    from headcount.study import atlas_unit, open_target, texts_of_tasks

    if not revisions:
        check_folder(target.out)
    check_at_least("--sequences", sequences, 1)
    check_seed("--seed", seed)
    if text is not None and task:
        raise InputError("--text and --task exclude each other: the text is one of them")
    if data is not None and not task:
        raise InputError("--data is for the rows of tasks: expected --task with it")
    if detectors is not None:
        load_detectors(detectors)
    texts = texts_of_tasks(tuple(dict.fromkeys(task)), data) if task else read_texts(text)

    def unit_of(model: Any) -> "Unit":
        return atlas_unit(model, sequences, seed, texts, control=control, written=written)

    if revisions:
        measure_training(target, revisions, unit_of, as_json)
        return
    model, run = open_target(target)
    measure_and_print([unit_of(model)], run, as_json, replace=target.replace)
