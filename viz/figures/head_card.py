"""A card of one head: its ranks in words, its attention on a text, and the tokens whose logits it raises and lowers."""

from math import isnan
from typing import Any

import numpy as np
import plotly.graph_objects as go

from headcount.results import HeadProfile, InputError, Standing
from headcount.viz import number_format, wording
from headcount.viz.figures.head_card_layout import EDGE, ROW, SHORT, Frame, axes, headings
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure
from headcount.viz.style.literal_text import literal, token

LONG = 80  # characters of a token on hover
LISTED = 3  # tokens raised, and tokens lowered
HOVERED = 128  # for at most so many tokens each cell names its two tokens; for more, the texts would make it large


def head(profile: HeadProfile | Any, *, theme: str = "light") -> Figure:
    """Draw one head as a card that can be read at a glance.

    Args:
        profile: A result of `headcount.induction.head_profile`.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with the head's name and ranks above; the map of its attention, queries downwards; beside it mean
        attention by distance, with position 0 set apart, and the entropy of each query's attention; below, for each
        distinct token of the text, the tokens whose logits attending to it raises and lowers. Its traces are the
        heatmap, two bar charts and the table, in this order. Tokens appear as they are, spaces as middle dots.

    Raises:
        InputError: This is no profile, or the theme is unknown.
    """
    if not isinstance(profile, HeadProfile):
        raise InputError(f"profile: expected a HeadProfile, as head_profile gives it, got {type(profile).__name__}")
    colours, lines = themes.theme_of(theme), _subtitle(profile)
    frame = Frame.of(profile, len(lines))
    traces = [_attention(profile, frame), *_bars(profile, colours), _table(profile, frame, colours)]
    title = {
        "text": profile.label,
        "font": {"size": 22},
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"l": 12, "t": 14},
        "subtitle": {"text": "<br>".join(lines), "font": {"size": 13, "color": colours.muted}},
    }
    return Figure(traces).update_layout(
        template=themes.template(colours),
        title=title,
        width=frame.width,
        height=frame.height,
        margin={"l": EDGE, "r": EDGE, "t": frame.top, "b": EDGE, "autoexpand": False},
        annotations=headings(profile, frame),
        bargap=0.15,
        **axes(profile, frame),
    )


def _subtitle(profile: HeadProfile) -> list[str]:
    """Return the head in a few lines of words."""
    model = literal(str(profile.provenance.get("model", "")))
    lines = [f"layer {profile.layer}, head {profile.head}{' of ' + model if model else ''}"]
    lines += [_standing_text(measure, standing) for measure, standing in profile.standings.items()]
    if not isnan(profile.sink):
        lag = int(np.nanargmax(profile.by_lag.numpy()))
        lines.append(
            f"{number_format.decimal(100 * profile.sink, 0)} % of attention is on the first token; apart from that it "
            f"attends most {_distance(lag)}: {number_format.decimal(profile.by_lag[lag].item(), 2)} on average"
        )
    rank = int(profile.own_rank.median())
    lines.append(f"on the embeddings, attending to a token puts that token at rank {rank} of {profile.vocab} (median)")
    return lines


def _standing_text(measure: str, standing: Standing) -> str:
    title = literal(wording.title_of(measure))
    if standing.rank is None:
        return f"{title}: not measured"
    text = number_format.formatter_of(measure, abs(standing.value))(
        standing.value, number_format.shown_error(standing.stderr, standing.n)
    )
    place = "the highest" if standing.rank == 1 else f"rank {standing.rank}"
    return f"{title} {text}: {place} of {standing.among} heads"


def _distance(lag: int) -> str:
    return "to the token itself" if lag == 0 else f"{lag} token{'' if lag == 1 else 's'} back"


def _attention(profile: HeadProfile, frame: Frame) -> go.Heatmap:
    """Return the map of the pattern, empty above the diagonal."""
    length = len(profile.tokens)
    below = np.tril(np.ones((length, length), dtype=bool))
    hover: dict[str, Any] = {"hovertemplate": "position %{y} to %{x}: %{z:.3f}<extra></extra>"}
    if length <= HOVERED:
        hover = {"hovertext": _cell_texts(profile), "hoverinfo": "text"}
    (_, right), (low, high) = frame.across(frame.left, frame.left + frame.extent + 14), frame.down(0, frame.extent)
    return go.Heatmap(
        z=np.where(below, profile.pattern.numpy(), np.nan),
        zmin=0,
        zmax=1,
        colorscale=themes.SEQUENTIAL,
        hoverongaps=False,
        colorbar={
            "x": right, "xpad": 0, "y": (low + high) / 2, "len": high - low, "ypad": 0, "thickness": 10,
            "outlinewidth": 0, "tickfont": {"size": 10}, "nticks": 6,
        },
        **hover,
    )  # fmt: skip


def _cell_texts(profile: HeadProfile) -> list[list[str]]:
    """Return the hover text of each cell of the pattern; "" above the diagonal."""
    tokens = [f"{token(text, LONG)} ({position})" for position, text in enumerate(profile.tokens)]
    texts = []
    for position, (query, row) in enumerate(zip(tokens, profile.pattern.tolist(), strict=True)):
        cells = [
            f"{query} to {key}<br>attention {number_format.decimal(value)}"
            for key, value in zip(tokens[: position + 1], row, strict=False)
        ]
        texts.append(cells + [""] * (len(tokens) - position - 1))
    return texts


def _bars(profile: HeadProfile, colours: themes.Theme) -> list[go.Bar]:
    """Return mean attention by distance, and the entropy of each query's attention."""
    style = {"marker": {"color": colours.accent}, "hoverinfo": "text", "showlegend": False}
    lags, entropy = profile.by_lag.numpy(), profile.relative_entropy.numpy()
    return [
        go.Bar(y=lags, hovertext=_lag_texts(profile), xaxis="x2", yaxis="y2", **style),
        go.Bar(y=entropy, hovertext=_query_texts(profile), xaxis="x3", yaxis="y3", **style),
    ]


def _lag_texts(profile: HeadProfile) -> list[str]:
    return [
        f"{_distance(lag)}: {number_format.decimal(value)}<br>mean over {len(profile.tokens) - 1 - lag} queries"
        for lag, value in enumerate(profile.by_lag.tolist())
    ]


def _query_texts(profile: HeadProfile) -> list[str]:
    return [
        f"{token(text, LONG)} ({position})<br>{number_format.decimal(nats, 2)} nats, "
        f"{number_format.decimal(share, 2)} of the maximum"
        for position, (text, nats, share) in enumerate(
            zip(profile.tokens, profile.entropy.tolist(), profile.relative_entropy.tolist(), strict=True)
        )
    ]


def _table(profile: HeadProfile, frame: Frame, colours: themes.Theme) -> go.Table:
    """Return the table of what the head writes when it attends to each distinct token; a long one scrolls."""
    itself = [
        f"rank {int(rank)} of {profile.vocab} ({logit:+.1f})"
        for rank, logit in zip(profile.own_rank.tolist(), profile.own_logit.tolist(), strict=True)
    ]
    columns = {
        "attending to": [token(source, SHORT) for source in profile.sources],
        "raises most": _with_logits(profile.raised, profile.raised_logits.tolist()),
        "lowers most": _with_logits(profile.lowered, profile.lowered_logits.tolist()),
        "and that token itself": itself,
    }
    style = {"align": "left", "height": ROW, "line": {"color": colours.line}}
    return go.Table(
        domain={
            "x": frame.across(EDGE, frame.width - EDGE),
            "y": frame.down(frame.below, frame.below + frame.table),
        },
        columnwidth=[1.1, 2.8, 2.8, 1.7],
        header={"values": list(columns), "fill": {"color": colours.surface}, "font": {"color": colours.muted}, **style},
        cells={"values": list(columns.values()), "fill": {"color": colours.background}, **style},
    )


def _with_logits(tokens: tuple[tuple[str, ...], ...], logits: list[list[float]]) -> list[str]:
    """Return the first few tokens of each row with their logits."""
    return [
        "&nbsp; ".join(
            f"{token(text, SHORT)}&nbsp;{logit:+.1f}" for text, logit in list(zip(row, values, strict=True))[:LISTED]
        )
        for row, values in zip(tokens, logits, strict=True)
    ]
