"""Figures and the report: what was measured, made visible.

`heads` draws a map of scores, `ffn_importance` scores of layers, `loss_by_repeat` the in-context learning curve, and
`report` writes a whole run into one HTML file that opens without a network.
"""

from viz.curves import loss_by_repeat
from viz.layers import ffn_importance
from viz.page import report
from viz.scoremap import heads

__all__ = ["ffn_importance", "heads", "loss_by_repeat", "report"]
