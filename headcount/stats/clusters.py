"""Clusters of tasks that need the same heads."""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from headcount.results import Clusters, CorrelationMatrix, InputError, Merge


def clusters(matrix: CorrelationMatrix) -> Clusters:
    """Group names that rank heads alike: hierarchical clustering, average linkage on the distance 1 - rho.

    Args:
        matrix: From `matrix`.

    Returns:
        An order in which neighbours are alike, and the steps of the tree.

    Raises:
        InputError: A rho is NaN.
    """
    rho = np.array(matrix.rho)
    if np.isnan(rho).any():
        constant = ", ".join(np.array(matrix.names)[np.isnan(rho).all(0)])
        raise InputError(f"clusters needs a rho for every pair, got NaN; leave out {constant}: all scores are equal")
    if len(matrix.names) == 1:
        return Clusters(matrix.names, matrix.names, ())
    tree = hierarchy.linkage(squareform(1 - rho, checks=False), method="average", optimal_ordering=True)
    merges = tuple(Merge(int(left), int(right), float(height), int(size)) for left, right, height, size in tree)
    return Clusters(matrix.names, tuple(matrix.names[leaf] for leaf in hierarchy.leaves_list(tree)), merges)
