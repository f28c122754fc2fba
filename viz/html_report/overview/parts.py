"""The figures and tables below the five answers."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from headcount.viz import number_format, wording
from headcount.viz.attention_views.circuitsvis_views import visible
from headcount.viz.figures.correlations import rank_correlation
from headcount.viz.figures.length_curve import score_by_length
from headcount.viz.figures.overview.top_heads import top_heads
from headcount.viz.html_report.overview.answers import task_pairs, verdict_counts
from headcount.viz.html_report.overview.attention_on_text import HALF, KINDS, LABELS, labels
from headcount.viz.html_report.overview.first_screen import FirstScreen
from headcount.viz.html_report.sections.atlas import atlas_of
from headcount.viz.html_report.sections.causes import head_verdicts
from headcount.viz.html_report.sections.control import INDUCTION, THRESHOLD
from headcount.viz.html_report.sections.importance import FIRST
from headcount.viz.ranks import ranks

SHOWN = 10  # heads in a table
ATLAS_SCORES = {"first": "first_token", "previous": "previous_token", "duplicate": "duplicate_token"}
"""The scores of a head atlas that give a label, by the kind of keys."""

verdicts = verdict_counts


@dataclass(frozen=True)
class StripToken:
    """One token of a text: its text, the attention that it gets in percent, and if it is the query."""

    text: str
    percent: int
    is_query: bool


@dataclass(frozen=True)
class Strip:
    """A text with the attention of one head at one query.

    Attributes:
        label: The head's name.
        tokens: The tokens up to the query.
        caption: The strongest key, in words.
    """

    label: str
    tokens: list[StripToken]
    caption: str


def figures(screen: FirstScreen) -> dict[str, go.Figure]:
    """Draw the figures of the five answers, by their names in the page."""
    drawn: dict[str, go.Figure] = {}
    if screen.induction is not None and screen.induction.strongest is not None:
        scores = screen.induction.scores
        random = screen.contents.control.get("prefix_matching")
        drawn["overview/sure"] = top_heads(scores, random=random, threshold=THRESHOLD, title="")
        if scores.by_length is not None and scores.lengths is not None:
            drawn["overview/lengths"] = score_by_length(scores, title="")
    drawn |= {f"overview/removal-{view.title}": view.figure for view in screen.removal.views if view.figure is not None}
    if pairs := task_pairs(screen):
        drawn["overview/agree"] = rank_correlation(pairs[1], title="")
    return drawn


def head_columns(screen: FirstScreen) -> list[str]:
    """Return the headings that go with `head_rows`."""
    maps = [measure for measure in INDUCTION if measure in screen.contents.maps]
    columns = [part for measure in maps for part in (wording.title_of(measure).lower(), "rank")]
    return ["head", *columns, *(["rank in importance"] if screen.importance else [])]


def head_rows(screen: FirstScreen) -> list[list[str]]:
    """Return the highest heads in prefix matching, with their scores and ranks."""
    if screen.induction is None:
        return []
    maps = [screen.contents.maps[measure] for measure in INDUCTION if measure in screen.contents.maps]
    columns = [(number_format.score_texts(scores), ranks(scores), scores.shape[1]) for scores in maps]
    important = ranks(screen.importance[1]) if screen.importance else None
    rows = []
    for layer, head, _ in screen.induction.scores.top(SHOWN):
        row = [screen.induction.label((layer, head))]
        for texts, by_head, n_heads in columns:
            row += [texts[layer * n_heads + head], str(by_head.get((layer, head), number_format.MISSING))]
        rows.append(row + ([] if important is None else [str(important.get((layer, head), number_format.MISSING))]))
    return rows


def important_columns(screen: FirstScreen) -> list[str]:
    """Return the headings that go with `important_rows`."""
    return ["rank", "head", "importance", *(["rank in prefix matching", "induction head"] if screen.induction else [])]


def important_rows(screen: FirstScreen) -> list[list[str]]:
    """Return the most important heads, with their ranks in prefix matching."""
    if screen.importance is None:
        return []
    scores, induction = screen.importance[1], screen.induction
    texts, n_heads = number_format.score_texts(scores), scores.shape[1]
    by_head = {} if induction is None else ranks(induction.scores)
    rows = []
    for rank, (layer, head, _) in enumerate(scores.top(FIRST), 1):
        row = [str(rank), scores.label(layer, head), texts[layer * n_heads + head]]
        if induction is not None:
            row += [str(by_head.get((layer, head), number_format.MISSING))]
            row += ["yes" if (layer, head) in induction.heads else "no"]
        rows.append(row)
    return rows


def text_columns() -> list[str]:
    """Return the headings that go with `text_rows`."""
    return ["head", *(KINDS[kind] for kind in ("successor", "duplicate", "previous", "first"))]


def text_rows(screen: FirstScreen) -> list[list[str]]:
    """Return the attention of the induction heads on each kind of keys, then that of attention spread evenly."""
    text, heads = screen.text, screen.induction
    if text is None or heads is None:
        return []
    kinds = ("successor", "duplicate", "previous", "first")
    rows = [
        [heads.label(head), *(number_format.decimal(float(text.shares[kind][head]), 2) for kind in kinds)]
        for head in heads.heads[:SHOWN]
    ]
    return [*rows, ["spread evenly", *(number_format.decimal(text.even[kind], 2) for kind in kinds)]]


def strip(screen: FirstScreen) -> Strip | None:
    """Return the text with the attention of the strongest head, at its query with the most attention off position 0."""
    text, head = screen.text, _shown_head(screen)
    if text is None or head is None or len(text.patterns.tokens) < 2:
        return None
    query = text.opening_query(head)
    weights = text.patterns.values(*head)[query]
    key = 1 + int(weights[1 : query + 1].argmax())
    name = f"L{head[0]}H{head[1]}"
    tokens = [visible(token) for token in text.patterns.tokens[: query + 1]]
    shown = [
        StripToken(token, round(100 * float(weights[place])), place == query) for place, token in enumerate(tokens)
    ]
    caption = (
        f"{name} at “{tokens[query].strip()}” ({query}): {float(weights[key]):.2f} of its attention is on "
        f"“{tokens[key].strip()}” ({key}), {float(weights[0]):.2f} on the first token."
    )
    return Strip(name, shown, caption)


def head_labels(screen: FirstScreen) -> dict[str, list[int]]:
    """Return for each label the flat indices of the heads that have it: by the run's head atlas, else by its text."""
    atlas = atlas_of(screen.contents.results)
    if atlas is None:
        return labels(screen.text)
    named = {LABELS[kind]: atlas.random[name] for kind, name in ATLAS_SCORES.items() if name in atlas.random}
    flat = {label: scores.values.flatten() > HALF for label, scores in named.items()}
    return {label: mask.nonzero().flatten().tolist() for label, mask in flat.items()}


def head_data(screen: FirstScreen) -> dict[str, object]:
    """Return what the pages of heads show besides scores and attention: labels, attention on text, verdicts."""
    text, heads = screen.text, screen.induction
    shares = {} if text is None else {kind: text.shares[kind].flatten().mul(255).round() for kind in KINDS}
    n_heads = 0 if heads is None else heads.scores.shape[1]
    induction = [] if heads is None else [layer * n_heads + head for layer, head in heads.heads]
    return {
        "labels": ({"induction head": induction} if heads is not None else {}) | head_labels(screen),
        "kinds": dict(KINDS),
        "shares": {kind: [int(level) for level in levels.nan_to_num(0).tolist()] for kind, levels in shares.items()},
        "prompt": "" if text is None else text.name,
        "verdicts": head_verdicts(screen.contents.results),
    }


def _shown_head(screen: FirstScreen) -> tuple[int, int] | None:
    """Return the strongest induction head, else the highest head of the run's first score."""
    if screen.induction is not None and screen.induction.strongest is not None:
        return screen.induction.strongest
    scores = next(iter(screen.contents.maps.values()), screen.importance[1] if screen.importance else None)
    return None if scores is None else next(((layer, head) for layer, head, _ in scores.top(1)), None)
