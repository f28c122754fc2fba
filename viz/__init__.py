"""Figures and the report: what was measured, made visible.

`heads` draws a map of scores, `head` one of them at a glance, `ffn_importance` scores of layers, `loss_by_repeat` the
in-context learning curve, `pruning_curve` and `pruning_grid` what removing parts costs, `compare`, `rank_correlation`,
`shots`, `by_layer`, `at_depths` and `capacity_retained` how scores compare; `attention` shows what heads attend to and
`tokens` a value of each token, with circuitsvis; `explorer` is all heads of a run to choose from; `report` writes a
whole run into one HTML file that opens without a network.

A notebook saved as a page keeps the attention views as they are, and plotly's figures if it was run with
`PLOTLY_RENDERER=plotly_mimetype+notebook`.
"""

from viz.circuits import attention, tokens
from viz.comparison import compare
from viz.correlations import rank_correlation, shots
from viz.curves import loss_by_repeat
from viz.depth import at_depths, by_layer
from viz.explorer import explorer
from viz.layers import ffn_importance
from viz.page import report
from viz.profile import head
from viz.pruning import pruning_curve, pruning_grid
from viz.retained import capacity_retained
from viz.scoremap import heads

__all__ = [
    "at_depths",
    "attention",
    "by_layer",
    "capacity_retained",
    "compare",
    "explorer",
    "ffn_importance",
    "head",
    "heads",
    "loss_by_repeat",
    "pruning_curve",
    "pruning_grid",
    "rank_correlation",
    "report",
    "shots",
    "tokens",
]
