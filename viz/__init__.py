"""Figures, views of attention, and the report.

`heads` draws a map of scores, `atlas` any two scores of a head atlas, `head` a card of one head, `ffn_importance`
scores of layers, `loss_by_repeat` the in-context learning curve, `score_by_length` scores of short and long
sequences, `pruning_curve` and `pruning_grid` the accuracy as parts are removed, `set_effects` what is left without
the heads of a kind, `composition` all pairs of heads, `over_training` a score over checkpoints. `compare`,
`rank_correlation`, `shots`, `by_layer`, `at_depths` and `capacity_retained` draw comparisons of scores. `attention`
shows what heads attend to and `tokens` a value of each token, both with circuitsvis. `explorer` shows all heads of a
run to choose from, and `report` writes a whole run into one HTML file that opens without a network. `score_map_svg` is
a map of scores for pages that run no script.

A notebook saved as a page stores the attention views as they are, and plotly's figures if it was run with
`PLOTLY_RENDERER=plotly_mimetype+notebook`.
"""

if __name__ != "headcount.viz":  # imported from the checkout's folder, it would be a second copy
    raise ImportError(f"the module {__name__} is part of headcount: import headcount.viz instead")

from headcount.viz.attention_views.circuitsvis_views import attention, tokens
from headcount.viz.drawn_map import score_map_svg
from headcount.viz.figures.atlas.scores import atlas
from headcount.viz.figures.capacity import capacity_retained
from headcount.viz.figures.circuits.composition import composition
from headcount.viz.figures.circuits.over_training import over_training
from headcount.viz.figures.comparison import compare
from headcount.viz.figures.correlations import rank_correlation, shots
from headcount.viz.figures.depth import at_depths, by_layer
from headcount.viz.figures.head_card import head
from headcount.viz.figures.layer_scores import ffn_importance
from headcount.viz.figures.length_curve import score_by_length
from headcount.viz.figures.loss_curve import loss_by_repeat
from headcount.viz.figures.pruning import pruning_curve, pruning_grid
from headcount.viz.figures.score_map import heads
from headcount.viz.figures.set_effects import set_effects
from headcount.viz.html_report.explorer import explorer
from headcount.viz.html_report.page import report

__all__ = [
    "at_depths",
    "atlas",
    "attention",
    "by_layer",
    "capacity_retained",
    "compare",
    "composition",
    "explorer",
    "ffn_importance",
    "head",
    "heads",
    "loss_by_repeat",
    "over_training",
    "pruning_curve",
    "pruning_grid",
    "rank_correlation",
    "report",
    "score_by_length",
    "score_map_svg",
    "set_effects",
    "shots",
    "tokens",
]
