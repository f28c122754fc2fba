"""One head at a glance: its ranks in words, where it looks on a text, and what it writes for the text's tokens."""

from math import isnan
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from headcount.results import HeadProfile, InputError, Standing
from headcount.viz import wording
from headcount.viz.figures import theme as themes
from headcount.viz.figures.literal_text import literal, token

CELL, EXTENT_MIN, EXTENT_MAX = 16, 340, 640  # of the attention map, in pixels
LABEL = 13  # the least room of one token's label on an axis
SIDE = 380  # the width of the two figures beside it
EDGE, BETWEEN, GAP = 16, 120, 60
LETTER = 6.2  # the mean width of a small letter
ROW, ROWS = 30, 20
SHORT, LONG = 14, 80  # characters of a token on an axis or in the table, and on hover
SHOWN = 3  # tokens raised, and tokens lowered
HOVERED = 128  # up to so many tokens each cell says its two tokens; beyond, the texts would make the figure large


class Frame(NamedTuple):
    """Where the parts of the card are, in pixels."""

    extent: int
    top: int
    table: int
    labels: int
    """The room of the tokens beside and below the map."""

    @property
    def width(self) -> int:
        """Of the whole card."""
        return self.beside + SIDE + EDGE

    @property
    def height(self) -> int:
        """Of the whole card."""
        return self.top + self.below + self.table + EDGE

    @property
    def left(self) -> int:
        """Where the map begins."""
        return EDGE + self.labels

    @property
    def beside(self) -> int:
        """Where the figures beside the map begin."""
        return self.left + self.extent + BETWEEN

    @property
    def below(self) -> int:
        """Where the table begins, from the top of the map."""
        return self.extent + self.labels + GAP

    def across(self, start: int, end: int) -> list[float]:
        """A domain between two distances from the left."""
        return [(place - EDGE) / (self.width - 2 * EDGE) for place in (start, end)]

    def down(self, start: int, end: int) -> list[float]:
        """A domain between two distances from the top of the map."""
        return [1 - place / (self.height - self.top - EDGE) for place in (end, start)]


def head(profile: HeadProfile | Any, *, theme: str = "light") -> go.Figure:
    """Draws one head as a card that a person reads at a glance.

    Args:
        profile: What `headcount.induction.head_profile` gives.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with the head's name and ranks above; the map of its attention, queries downwards; beside it mean
        attention by distance, with position 0 set apart, and the spread of each query's attention; below, for each
        distinct token of the text, what attending to it raises and lowers. Its traces are the heatmap, two bar charts
        and the table, in this order. Tokens appear as they are, spaces as middle dots.

    Raises:
        InputError: What came is not a profile, or the theme is unknown.
    """
    if not isinstance(profile, HeadProfile):
        raise InputError(f"profile: expected a HeadProfile, as head_profile gives it, got {type(profile).__name__}")
    colours = themes.named(theme)
    said = _said(profile)
    extent = min(max(CELL * len(profile.tokens), EXTENT_MIN), EXTENT_MAX)
    rows = min(len(profile.sources), ROWS) + 1
    labels = 16 + int(LETTER * min(max(map(len, profile.tokens)), SHORT))
    frame = Frame(extent, 72 + 18 * len(said), ROW * rows + EDGE, labels)
    bars = {"marker": {"color": colours.accent}, "hoverinfo": "text", "showlegend": False}
    figure = go.Figure(
        [
            _attention(profile, frame),
            go.Bar(y=profile.by_lag.numpy(), hovertext=_said_of_lags(profile), xaxis="x2", yaxis="y2", **bars),
            go.Bar(
                y=profile.relative_entropy.numpy(), hovertext=_said_of_queries(profile), xaxis="x3", yaxis="y3", **bars
            ),
            _table(profile, frame, colours),
        ]
    )
    return figure.update_layout(
        template=themes.template(colours),
        title={
            "text": profile.label,
            "font": {"size": 22},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 14},
            "subtitle": {"text": "<br>".join(said), "font": {"size": 13, "color": colours.muted}},
        },
        width=frame.width,
        height=frame.height,
        margin={"l": EDGE, "r": EDGE, "t": frame.top, "b": EDGE, "autoexpand": False},
        annotations=_headings(profile, frame),
        bargap=0.15,
        **_axes(profile, frame),
    )


def _said(profile: HeadProfile) -> list[str]:
    """The head in a few lines of words."""
    model = literal(str(profile.provenance.get("model", "")))
    lines = [f"layer {profile.layer}, head {profile.head}{' of ' + model if model else ''}"]
    lines += [_standing(measure, standing) for measure, standing in profile.standings.items()]
    if not isnan(profile.sink):
        lag = int(np.nanargmax(profile.by_lag.numpy()))
        lines.append(
            f"{wording.number(100 * profile.sink, 0)} % of attention rests on the first token; next to that it looks "
            f"most {_distance(lag)}: {wording.number(profile.by_lag[lag].item(), 2)} on average"
        )
    rank = int(profile.own_rank.median())
    lines.append(
        f"on the embeddings, attending to a token puts that very token at rank {rank} of {profile.vocab} (median)"
    )
    return lines


def _standing(measure: str, standing: Standing) -> str:
    small = measure not in wording.SHARES and abs(standing.value) < wording.SMALL
    text = (wording.significant if small else wording.measured)(standing.value, standing.stderr)
    if standing.rank is None:
        return f"{literal(wording.title_of(measure))}: not measured"
    place = "the highest" if standing.rank == 1 else f"rank {standing.rank}"
    return f"{literal(wording.title_of(measure))} {text}: {place} of {standing.among} heads"


def _distance(lag: int) -> str:
    return "at the token itself" if lag == 0 else f"{lag} token{'' if lag == 1 else 's'} back"


def _attention(profile: HeadProfile, frame: Frame) -> go.Heatmap:
    """The pattern, without the cells that no query can attend to."""
    length = len(profile.tokens)
    attended = np.tril(np.ones((length, length), dtype=bool))
    said: dict[str, Any] = {"hovertemplate": "position %{y} to %{x}: %{z:.3f}<extra></extra>"}
    if length <= HOVERED:
        said = {"hovertext": _said_of_cells(profile), "hoverinfo": "text"}
    (_, right), (low, high) = frame.across(frame.left, frame.left + frame.extent + 14), frame.down(0, frame.extent)
    return go.Heatmap(
        z=np.where(attended, profile.pattern.numpy(), np.nan),
        zmin=0,
        zmax=1,
        colorscale=themes.SEQUENTIAL,
        hoverongaps=False,
        colorbar={
            "x": right, "xpad": 0, "y": (low + high) / 2, "len": high - low, "ypad": 0, "thickness": 10,
            "outlinewidth": 0, "tickfont": {"size": 10}, "nticks": 6,
        },
        **said,
    )  # fmt: skip


def _said_of_cells(profile: HeadProfile) -> list[list[str]]:
    """What hovering over each cell of the pattern says; nothing above the diagonal."""
    tokens = [f"{token(text, LONG)} ({place})" for place, text in enumerate(profile.tokens)]
    return [
        [f"{query} to {key}<br>attention {wording.number(value)}" for key, value in zip(tokens, row, strict=True)][
            : at + 1
        ]
        + [""] * (len(tokens) - at - 1)
        for at, (query, row) in enumerate(zip(tokens, profile.pattern.tolist(), strict=True))
    ]


def _said_of_lags(profile: HeadProfile) -> list[str]:
    return [
        f"{_distance(lag)}: {wording.number(value)}<br>mean over {len(profile.tokens) - 1 - lag} queries"
        for lag, value in enumerate(profile.by_lag.tolist())
    ]


def _said_of_queries(profile: HeadProfile) -> list[str]:
    return [
        f"{token(text, LONG)} ({place})<br>{wording.number(nats, 2)} nats, "
        f"{wording.number(share, 2)} of the most possible"
        for place, (text, nats, share) in enumerate(
            zip(profile.tokens, profile.entropy.tolist(), profile.relative_entropy.tolist(), strict=True)
        )
    ]


def _table(profile: HeadProfile, frame: Frame, colours: themes.Theme) -> go.Table:
    """What attending to each distinct token writes; it scrolls where there are many."""
    own = [
        f"rank {int(rank)} of {profile.vocab} ({logit:+.1f})"
        for rank, logit in zip(profile.own_rank.tolist(), profile.own_logit.tolist(), strict=True)
    ]
    columns = {
        "attending to": [token(source, SHORT) for source in profile.sources],
        "raises most": _written(profile.raised, profile.raised_logits.tolist()),
        "lowers most": _written(profile.lowered, profile.lowered_logits.tolist()),
        "and that token itself": own,
    }
    look = {"align": "left", "height": ROW, "line": {"color": colours.line}}
    return go.Table(
        domain={
            "x": frame.across(EDGE, frame.width - EDGE),
            "y": frame.down(frame.below, frame.below + frame.table),
        },
        columnwidth=[1.1, 2.8, 2.8, 1.7],
        header={"values": list(columns), "fill": {"color": colours.surface}, "font": {"color": colours.muted}, **look},
        cells={"values": list(columns.values()), "fill": {"color": colours.background}, **look},
    )


def _written(tokens: tuple[tuple[str, ...], ...], logits: list[list[float]]) -> list[str]:
    """The first few tokens of each row with their logits."""
    return [
        "&nbsp; ".join(
            f"{token(text, SHORT)}&nbsp;{logit:+.1f}" for text, logit in list(zip(row, values, strict=True))[:SHOWN]
        )
        for row, values in zip(tokens, logits, strict=True)
    ]


def _headings(profile: HeadProfile, frame: Frame) -> list[dict[str, Any]]:
    """The heading of each part, above its upper left corner."""
    half = frame.extent // 2
    texts = [
        ("Attention from each token (down) to those before it (across)", frame.left, 0),
        ("Mean attention by distance, first token set apart", frame.beside, 0),
        ("Spread of attention: entropy, 1 is even over all tokens", frame.beside, half + 40),
        (
            "What the head would write if it attended to one token alone, on the embeddings: logits above their mean "
            f"over the vocabulary ({len(profile.sources)} distinct tokens)",
            EDGE,
            frame.below,
        ),
    ]
    return [
        {
            "text": text, "x": frame.across(x, x)[0], "y": frame.down(y, y)[0], "xref": "paper", "yref": "paper",
            "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
        }
        for text, x, y in texts
    ]  # fmt: skip


def _axes(profile: HeadProfile, frame: Frame) -> dict[str, Any]:
    """The axes of map, distances and spread: tokens by name, as many as there is room for."""
    length, half = len(profile.tokens), frame.extent // 2
    step = -(-LABEL * length // frame.extent)
    places = list(range(0, length, step))
    tokens = {
        "tickvals": places,
        "ticktext": [token(profile.tokens[place], SHORT) for place in places],
        "tickfont": {"size": 10},
        "showgrid": False,
        "range": [-0.5, length - 0.5],
    }
    map_, side = frame.across(frame.left, frame.left + frame.extent), frame.across(frame.beside, frame.beside + SIDE)
    return {
        "xaxis": tokens | {"domain": map_, "tickangle": -90, "anchor": "y"},
        "yaxis": tokens | {"domain": frame.down(0, frame.extent), "range": [length - 0.5, -0.5], "anchor": "x"},
        "xaxis2": {"domain": side, "anchor": "y2", "title": _small("tokens back"), "showgrid": False,
                   "range": [-0.6, max(length - 1.4, 0.6)]},
        "yaxis2": {"domain": frame.down(0, half - 40), "anchor": "x2", "rangemode": "tozero", "nticks": 5},
        "xaxis3": {"domain": side, "anchor": "y3", "title": _small("position"), "showgrid": False,
                   "range": [-0.6, length - 0.4]},
        "yaxis3": {"domain": frame.down(half + 40, frame.extent), "anchor": "x3", "range": [0, 1.02], "nticks": 5},
    }  # fmt: skip


def _small(title: str) -> dict[str, Any]:
    return {"text": title, "font": {"size": 12}, "standoff": 4}
