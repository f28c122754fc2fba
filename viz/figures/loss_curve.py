"""The in-context learning curve: the loss on each repeat of a sequence."""

import plotly.graph_objects as go

from headcount.results import RepeatLoss
from headcount.viz.style import theme as themes
from headcount.viz.style.figure import Figure


def loss_by_repeat(result: RepeatLoss, *, theme: str = "light") -> Figure:
    """Draw the loss on each repeat of a sequence: it falls where the model learns from its context.

    Args:
        result: The measured losses.
        theme: `"light"` or `"dark"`.

    Returns:
        A figure with one point a repeat, counted from 1, and bars of one standard error where it is known.

    Raises:
        InputError: The theme is unknown.
    """
    frame = result.to_frame()
    figure = Figure(
        go.Scatter(
            x=frame["repeat"],
            y=frame["loss"],
            error_y={"array": frame["stderr"], "visible": result.n > 2},
            mode="lines+markers",
            marker={"size": 8},
            hovertemplate="repeat %{x}<br>%{y:.3f} nats per token<extra></extra>",
            name="",
        )
    )
    return figure.update_layout(
        template=themes.template(themes.theme_of(theme)),
        width=340,
        height=260,
        margin={"l": 56, "r": 24, "t": 12, "b": 48},
        xaxis={"title": {"text": "repeat"}, "dtick": 1, "showgrid": False},
        yaxis={"title": {"text": "loss, nats per token"}, "rangemode": "tozero"},
    )
