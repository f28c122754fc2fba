"""The figure: exact match over the share of heads removed, a line a kind, random heads as a band behind; as SVG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from page.kinds import mean_table
from page.runs import ModelRun, kind_title

COLOURS = ("#0076b8", "#d55e00", "#009e73", "#c1619a", "#9a7d0a", "#3a93c9")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")
INK, MUTED, RULE, BAND = "#1b1f24", "#59616b", "#d5d9de", "#808891"
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 230, 56, 62, 70
FONT = 'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" font-size="12"'

Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        left: Place of the left edge, in pixels.
        top: Place of the upper edge.
        last: The largest share, in percent, at the right edge.
        highest: The largest value, near the upper edge.
    """

    left: float
    top: float
    last: float
    highest: float

    def point(self, share: float, value: float) -> Point:
        """Return the place of a share and a value."""
        return self.left + WIDTH * share / self.last, self.top + HEIGHT * (1 - max(0.0, value) / (1.05 * self.highest))

    def axes(self, shares: Sequence[float], heading: str) -> list[str]:
        """Return the axes with their numbers and titles."""
        bottom, middle = self.top + HEIGHT, (self.left + WIDTH / 2, self.top + HEIGHT / 2)
        parts = [_text(self.left, self.top - 8, heading, fill=INK, weight="600")]
        for value in [tick / 5 for tick in range(6) if tick / 5 <= self.highest]:
            y = self.point(0, value)[1]
            parts.append(f'<path d="M{self.left} {y:.1f}h{WIDTH}" stroke="{RULE}" stroke-width="0.7"/>')
            parts.append(_text(self.left - 6, y + 4, f"{value:g}", anchor="end"))
        parts.append(f'<path d="M{self.left} {self.top}V{bottom}h{WIDTH}" fill="none" stroke="{MUTED}"/>')
        parts += [_text(self.point(share, 0)[0], bottom + 16, f"{share:g}", anchor="middle") for share in (0, *shares)]
        parts.append(_text(middle[0], bottom + 34, "heads removed, %", anchor="middle"))
        turned = _text(0, 0, "exact match", anchor="middle")
        return [*parts, f'<g transform="translate({self.left - 38} {middle[1]}) rotate(-90)">{turned}</g>']


def figure(runs: Sequence[ModelRun]) -> str:
    """Return one row of panels a model and kind of ablation: whole sets, and sets without the other kinds' heads."""
    tables = [(run, ablation, mean_table(run, ablation)) for run in runs for ablation in run.ablations]
    shown = [(run, ablation, table.xs("exact_match", level="measure")) for run, ablation, table in tables if len(table)]
    kinds = list(dict.fromkeys(kind for *_, table in shown for kind in table.index.get_level_values("kind")))
    width, height = LEFT + 2 * WIDTH + GAP + 20, TOP + len(shown) * (HEIGHT + GAP) + 10
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>']
    parts += [f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *_legend(kinds)]
    for row, (run, ablation, table) in enumerate(shown):
        for column, alone in enumerate((False, True)):
            words = "without heads of other kinds" if alone else f"{run.title[:30]}, {ablation} ablation"
            left, top = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP) + 20
            parts += _drawn(table, kinds, alone, (left, top), words)
    return "\n".join([*parts, "</svg>\n"])


def _legend(kinds: Sequence[str]) -> Iterable[str]:
    x = LEFT
    for number, kind in enumerate(kinds):
        yield _line([(x, 22), (x + 26, 22)], number)
        yield _text(x + 32, 26, kind_title(kind), fill=INK)
        x += 52 + 7 * len(kind_title(kind))
    yield f'<rect x="{x}" y="15" width="26" height="14" fill="{BAND}" opacity="0.3"/>'
    yield _text(x + 32, 26, "random heads of the same layers", fill=INK)


def _drawn(table: pd.DataFrame, kinds: Sequence[str], alone: bool, place: Point, heading: str) -> list[str]:
    """Return a panel with the band, and a line with bars of one standard error for each kind."""
    rows = table[table.index.get_level_values("without_others") == alone].droplevel("without_others")
    shares = sorted({float(share) for share in table.index.get_level_values("percent")})
    highest = max(0.1, *(float(table[name].max()) for name in ("whole", "value", "random")))
    panel = Panel(*place, shares[-1], highest)
    parts = panel.axes(shares, heading)
    whole = float(table["whole"].iloc[0])
    band = rows.groupby("percent")[["random", "random_spread"]].mean()
    ends = [
        [(0.0, whole), *((share, row["random"] + sign * row["random_spread"]) for share, row in band.iterrows())]
        for sign in (1, -1)
    ]
    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in (panel.point(*pair) for pair in [*ends[0], *ends[1][::-1]]))
    parts.append(f'<polygon points="{outline}" fill="{BAND}" opacity="0.3"/>')
    for number, kind in enumerate(kinds):
        of_kind = rows[rows.index.get_level_values("kind") == kind].droplevel("kind").sort_index()
        points = [panel.point(0, whole), *(panel.point(share, row["value"]) for share, row in of_kind.iterrows())]
        parts.append(_line(points, number))
        for share, row in of_kind.iterrows():
            low, high = (panel.point(share, row["value"] + sign * row["stderr"]) for sign in (-1, 1))
            parts.append(_line([low, high], number, width=1.2))
    return parts


def _line(points: Sequence[Point], number: int, width: float = 2.5) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    style = f' stroke-dasharray="{dash}"' if dash and width > 2 else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{style}/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = MUTED, weight: str = "400") -> str:
    style = f'text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
