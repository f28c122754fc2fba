"""The sections on what tasks need: the model's accuracy, the importance of heads, of FFNs and of experts."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

from headcount.results import Accuracy, ExpertScores, HeadScores, LayerScores, Result, Setting
from headcount.viz import number_format, wording
from headcount.viz.contents import Contents
from headcount.viz.figures.score_map import heads
from headcount.viz.html_report.analysis_tables import results_at_shots
from headcount.viz.html_report.sections.control import INDUCTION
from headcount.viz.html_report.views import Section, View
from headcount.viz.ranks import ranks

FIRST = 10  # heads, or experts, in a table of the most important ones
TASK_COLUMNS = ("task", "shots", "accuracy", "chance", "majority", "n", "cut", "ties", "in part", "verdict")

ScoreAndRank = Callable[[int, int], tuple[str, str]]


def task_rows(accuracy: Mapping[Setting, Accuracy]) -> list[list[str]]:
    """Return each task's accuracy at each number of shots, with its verdict; `TASK_COLUMNS` are the headings."""
    return [
        [
            setting.task,
            str(setting.shots),
            number_format.with_error(result.value, number_format.shown_error(result.stderr, result.n)),
            *(number_format.decimal(guess) for guess in (result.chance, result.majority)),
            *(str(count) for count in (result.n, result.cut, result.ties, result.merged)),
            "above chance" if result.beats_guessing else "no verdict: not above chance",
        ]
        for setting, result in accuracy.items()
    ]


def tasks_at_chance(contents: Contents, setting: Setting, scores: HeadScores | LayerScores) -> list[str]:
    """Return the tasks of a setting whose accuracy is at chance, so that their importance shows nothing.

    Args:
        contents: All results.
        setting: A task or a mean over tasks.
        scores: The importance there; a mean's provenance lists its tasks.
    """
    names = tasks_of(scores) if setting.is_mean else [setting.task]
    measured = {name: contents.accuracy.get(Setting(name, setting.shots)) for name in names}
    return [name for name, accuracy in measured.items() if accuracy is not None and not accuracy.beats_guessing]


def tasks_of(mean: HeadScores | LayerScores) -> list[str]:
    """Return the tasks in a mean's provenance, as names or as entries with a name; a file may hold anything there."""
    tasks = mean.provenance.get("tasks")
    entries = tasks if isinstance(tasks, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


def head_columns(scores: HeadScores, maps: Mapping[str, HeadScores]) -> list[str]:
    """Return the headings that go with `head_rows`."""
    induction = [part for measure in _induction(maps) for part in (wording.title_of(measure).lower(), "rank")]
    return ["rank", "head", wording.quantity(scores), *induction]


def head_rows(heads: Mapping[Setting, HeadScores], maps: Mapping[str, HeadScores]) -> dict[Setting, list[list[str]]]:
    """Return the most important heads of each setting, with their scores as induction heads.

    Args:
        heads: The importance of all heads.
        maps: Scores of the same heads by measure; any of them may be missing.

    Returns:
        By setting, one row for each head: its rank, its label, its importance with standard error, then its score and
        rank in each induction score.
    """
    lookups = [_score_and_rank(scores) for scores in _induction(maps).values()]
    return {setting: _setting_rows(scores, lookups) for setting, scores in heads.items()}


def ffn_columns(scores: LayerScores) -> list[str]:
    """Return the headings that go with `ffn_rows`."""
    return ["layer", wording.quantity(scores), *(wording.title_of(name).lower() for name in scores.extras)]


def ffn_rows(scores: LayerScores) -> list[list[str]]:
    """Return each layer, the drop in accuracy without its FFN with standard error, and the extras."""
    columns = [number_format.value_texts(extra) for extra in scores.extras.values()]
    return [
        [str(layer), text, *(column[layer] for column in columns)]
        for layer, text in enumerate(number_format.score_texts(scores))
    ]


def needed_experts(results: Mapping[str, Result]) -> Section:
    """Make the section with the importance of experts for each task and number of shots."""
    return Section(
        "experts",
        "Needed experts",
        intro="How much tasks need each expert of a mixture: the change of the loss as the weight that the router "
        "gives it goes to zero.",
        reading="An expert to which few tokens are sent can only matter for these. Layers that are no mixture have "
        "crosses.",
        caveat="One expert at a time is looked at, the others' weights as they are; the router does not choose again.",
        views=[
            _expert_view(f"{setting.title}{'' if folder == 'importance/experts' else ', by removal'}", scores)
            for setting, folder, scores in _expert_scores(results)
        ],
    )


def _setting_rows(scores: HeadScores, lookups: Sequence[ScoreAndRank]) -> list[list[str]]:
    write, stderr = number_format.formatter(scores), number_format.shown_errors(scores)
    rows = []
    for rank, (layer, head, value) in enumerate(scores.top(FIRST), 1):
        text = write(value, nan if stderr is None else float(stderr[layer, head]))
        induction = [part for lookup in lookups for part in lookup(layer, head)]
        rows.append([str(rank), scores.label(layer, head), text, *induction])
    return rows


def _score_and_rank(scores: HeadScores) -> ScoreAndRank:
    """Return a function that gives a head's score with standard error, and its rank, as text."""
    by_head, texts, n_heads = ranks(scores), number_format.score_texts(scores), scores.shape[1]

    def lookup(layer: int, head: int) -> tuple[str, str]:
        return texts[layer * n_heads + head], str(by_head.get((layer, head), number_format.MISSING))

    return lookup


def _induction(maps: Mapping[str, HeadScores]) -> dict[str, HeadScores]:
    """Return the maps of the measures that define an induction head."""
    return {measure: maps[measure] for measure in INDUCTION if measure in maps}


def _expert_scores(results: Mapping[str, Result]) -> list[tuple[Setting, str, ExpertScores]]:
    """Return the importance of experts by setting and folder: each task by gradients, then by removal."""
    listed = [
        (name.setting, name.folder, scores)
        for name, _, scores in results_at_shots(results, ExpertScores)
        if name.setting is not None
    ]
    return sorted(listed, key=lambda entry: (entry[0].order, entry[1]))


def _expert_view(title: str, scores: ExpertScores) -> View:
    write, stderr, routed = number_format.formatter(scores), number_format.shown_errors(scores), scores.extras
    rows = [
        [
            str(rank),
            scores.label(layer, expert),
            write(value, nan if stderr is None else float(stderr[layer, expert])),
            *(
                number_format.decimal(100 * float(routed["routed"][layer, expert]), 1)
                for _ in range("routed" in routed)
            ),
        ]
        for rank, (layer, expert, value) in enumerate(scores.top(FIRST), 1)
    ]
    columns = ["rank", "expert", wording.quantity(scores), *(["% of tokens"] if "routed" in routed else [])]
    return View(title, heads(scores, title=""), f"The {len(rows)} highest experts", columns, rows)
