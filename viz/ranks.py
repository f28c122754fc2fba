"""The rank of each head, layer or expert in a map of scores."""

from headcount.results import ExpertScores, HeadScores, LayerScores


def ranks(scores: HeadScores | LayerScores | ExpertScores) -> dict[tuple[int, ...], int]:
    """Return the rank of every measured head by (layer, head), or layer by (layer,); the highest score has rank 1."""
    return {tuple(position): rank for rank, (*position, _) in enumerate(scores.top(scores.values.numel()), 1)}
