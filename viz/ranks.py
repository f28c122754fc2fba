"""The rank of each head, or layer, in a map of scores."""

from headcount.results import HeadScores, LayerScores


def ranks(scores: HeadScores | LayerScores) -> dict[tuple[int, ...], int]:
    """Return the rank of every measured head by (layer, head), or layer by (layer,); the highest score has rank 1."""
    return {tuple(position): rank for rank, (*position, _) in enumerate(scores.top(scores.values.numel()), 1)}
