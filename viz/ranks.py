"""The rank of each head, layer or expert in a map of scores."""

from headcount.results import ExpertScores, HeadScores, LayerScores


def ranks(scores: HeadScores | LayerScores | ExpertScores) -> dict[tuple[int, ...], int]:
    """Return the rank of every measured head by (layer, head), or layer by (layer,); the highest score has rank 1."""
    return {tuple(position): rank for rank, (*position, _) in enumerate(scores.top(scores.values.numel()), 1)}


def number_of_parts(scores: HeadScores | LayerScores | ExpertScores) -> int:
    """Return the number of heads, layers or experts, without layers that have none: there all scores are NaN."""
    there = ~scores.values.isnan().reshape(scores.shape[0], -1).all(1)
    return int(there.sum()) * (scores.values.numel() // scores.shape[0])
