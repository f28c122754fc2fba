"""The unit of the head atlas, and the texts of tasks that it may be measured on."""

from collections.abc import Sequence
from dataclasses import replace

from headcount import induction
from headcount.importance import load_task
from headcount.induction.internal import CONTROL_SEQUENCES, Texts, atlas_work, every_detector, has_control, text_rows
from headcount.progress import Progress
from headcount.results import HeadAtlas, ResultName
from headcount.study.unit import Unit
from headcount.tracing import Model

TASK_ROWS = 500
"""Rows of each task at most whose texts are taken."""


def atlas_unit(
    model: Model, n_sequences: int, seed: int, texts: Texts, *, control: bool = True, written: bool = False
) -> Unit:
    """Return the unit of the head atlas.

    Args:
        model: The model.
        n_sequences: Sequences of repeated random tokens.
        seed: Their seed.
        texts: The texts, as from `read_texts` or `texts_of_tasks`.
        control: True also scores random weights, where the model is whole and in memory.
        written: True also scores what heads write: copy suppression, succession, retrieval.
    """
    control = control and has_control(model)
    n_text = len(text_rows(model, texts))

    def measure(progress: Progress) -> tuple[HeadAtlas]:
        atlas = induction.head_atlas(
            model, sequences=n_sequences, text=texts, seed=seed, control=control, progress=progress.advance
        )
        if not written:
            return (atlas,)
        more = induction.written_scores(model, text_rows(model, texts), seed=seed, control=control)
        return (replace(atlas.with_scores(more), provenance=atlas.provenance | {"written": True}),)

    controls = sum(min(count, CONTROL_SEQUENCES) for count in (n_sequences, n_text)) if control else 0
    return Unit(
        "head atlas",
        (str(ResultName.atlas()),),
        {
            "seed": seed,
            "sequences": n_sequences,
            "text_digest": texts.digest,
            "detectors": {detector.name: detector.definition for detector in every_detector()},
            "control": control,
            **({"written": True} if written else {}),
        },
        n_sequences + n_text + controls,
        measure,
        work=lambda: atlas_work(model, n_sequences, texts, control=control),
    )


def texts_of_tasks(names: Sequence[str], data: str | None = None) -> Texts:
    """Return the texts of tasks' train rows: each question without shots, with its right answer.

    Args:
        names: The tasks.
        data: A folder of rows, or "hub".

    Raises:
        InputError: A task is unknown, or its rows are missing.
    """
    texts = []
    for name in names:
        examples = load_task(name, data=data).examples(shots=0, limit=TASK_ROWS)
        texts += [example.context + example.continuation for example in examples]
    return Texts(tuple(texts), f"rows of {', '.join(names)}")
