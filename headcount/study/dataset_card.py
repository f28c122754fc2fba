"""The card of a run that is published as a dataset: what was measured, how, and the figures of its heads."""

import json
from collections import Counter

from headcount.results import HeadScores, ResultName, Run
from headcount.viz import score_map_svg

FIGURES = {
    str(ResultName.induction("prefix_matching")): "Prefix matching",
    str(ResultName.induction("copying")): "Copying",
}
"""The results that have a figure in the card, with their titles, beside the mean importance of heads."""
HIGHEST = 5
"""Heads of a figure that the card lists."""


def dataset_card(run: Run, repository: str, licence: str) -> dict[str, str]:
    """Return the files that a published run has beside its results: the card, and its figures, by path.

    Args:
        run: The run.
        repository: The name of the dataset.
        licence: The licence of the results, as the Hub names it.
    """
    figures = {name: title for name, title in (FIGURES | _mean_importance(run)).items() if name in run}
    pictures, parts = {}, []
    for name, title in figures.items():
        scores = run[name]
        if isinstance(scores, HeadScores):
            path = f"figures/{name.replace('/', '.')}.svg"
            pictures[path] = score_map_svg(scores, title)
            highest = [f"{scores.label(layer, head)} ({value:.3f})" for layer, head, value in scores.top(HIGHEST)]
            parts.append(f"### {title}\n\n![{title} of every head]({path})\n\nHighest: {', '.join(highest)}.")
    return pictures | {"README.md": "\n\n".join([_front(licence), _about(run, repository), *parts, _measured(run)])}


def _mean_importance(run: Run) -> dict[str, str]:
    """Mean importance at each number of shots; where there is none, that for single tasks."""
    names = [name for name in run.names if name.startswith("importance/heads/")]
    chosen = [name for name in names if name.startswith("importance/heads/mean.")] or names
    return {name: f"Importance of heads, {name.rpartition('/')[2]}" for name in chosen[:3]}


def _front(licence: str) -> str:
    """The header that the Hub reads; values as JSON, which YAML contains."""
    tags = ["interpretability", "attention-heads", "in-context-learning", "headcount"]
    return f"---\nlicense: {json.dumps(licence)}\ntags: {json.dumps(tags)}\n---"


def _about(run: Run, repository: str) -> str:
    sections = Counter(name.partition("/")[0] for name in run.names)
    counts = ", ".join(f"{number} of {section}" for section, number in sections.items())
    return (
        f"# Heads of {_code(run.manifest['model']['name'])}\n\n"
        f"A run of headcount: which attention heads and feed-forward networks does in-context learning need? "
        f"{len(run)} results ({counts}), each one file with its standard errors, settings and a checksum.\n\n"
        f"```\nheadcount pull hf://datasets/{repository} run\nheadcount show run\nheadcount report run\n```"
    )


def _measured(run: Run) -> str:
    """The section on provenance: of the model, and of what most results share."""
    model = run.manifest["model"]
    rows = [("model", model["name"])]
    rows += [(key, model[key]) for key in ("revision", "fingerprint", "dtype") if model.get(key)]
    rows += [("sizes", ", ".join(f"{key} {size}" for key, size in model.get("sizes", {}).items()))]
    rows += [("begun", run.manifest["created"])]
    records = [run.content(name).fields.get("provenance", {}) for name in run.names]
    for key in ("device", "threads", "seed", "command"):
        values = Counter(str(record[key]) for record in records if key in record)
        rows += [(key, f"{value} ({number} of {len(records)} results)") for value, number in values.most_common(3)]
    versions = Counter(
        f"{name} {version}" for record in records for name, version in dict(record.get("versions", {})).items()
    )
    rows.append(("versions", ", ".join(sorted(versions))))
    table = "\n".join(f"| {key} | {_code(str(value))} |" for key, value in rows if value)
    return f"### How it was measured\n\n| | |\n|---|---|\n{table}\n"


def _code(text: str) -> str:
    """A text from elsewhere, shown literally in a line of Markdown."""
    return f"`{' '.join(text.replace('`', chr(39)).replace('|', '/').split())}`"
