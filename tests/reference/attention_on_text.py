"""Attention of one head on the kinds of earlier tokens of a text, as plain loops."""

from collections.abc import Sequence
from math import nan


def kinds_of_attention(pattern: list[list[float]], tokens: Sequence[object]) -> dict[str, tuple[float, float, int]]:
    """Return the mean attention on each kind of keys, that of attention spread evenly, and the number of queries.

    Only queries that have such keys count. Position 0 is a key of the kind `first` alone.
    """

    def keys_of(kind: str, query: int) -> list[int]:
        copies = [key for key in range(query) if tokens[key] == tokens[query]]
        keys = {
            "first": [0] if query > 0 else [],
            "previous": [query - 1] if query > 1 else [],
            "duplicate": [key for key in copies if key > 0],
            "successor": [key + 1 for key in copies],
        }
        return keys[kind]

    means = {}
    for kind in ("first", "previous", "duplicate", "successor"):
        shares, even = [], []
        for query in range(len(tokens)):
            keys = keys_of(kind, query)
            if keys:
                shares.append(sum(pattern[query][key] for key in keys))
                even.append(len(keys) / (query + 1))
        count = len(shares)
        means[kind] = (sum(shares) / count, sum(even) / count, count) if count else (nan, nan, 0)
    return means
