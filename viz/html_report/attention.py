"""The section on what a head attends to: the stored attention of as many heads as fit into the page."""

import numpy as np
from jaxtyping import Int64

from headcount.viz.attention_views import stored_patterns
from headcount.viz.contents import Contents
from headcount.viz.ranks import ranks

MARK = "<!--attention-->"  # names are escaped, so nothing in a run can be taken for this mark


def insert_attention(page: str, contents: Contents, max_mb: float) -> str:
    """Replace the mark in a page by as much attention as the page's size allows.

    Args:
        page: The page's source.
        contents: The results, with what heads attend to on each prompt.
        max_mb: The size of the whole page in megabytes, up to which attention is stored.
    """
    max_chars = max_mb * 1e6 - len(page.encode())
    prompts = stored_patterns.prompts_of(contents.attention)
    return page.replace(MARK, stored_patterns.elements(prompts, heads_by_rank(contents), max_chars), 1)


def heads_by_rank(contents: Contents) -> Int64[np.ndarray, " head"]:
    """Return flat indices of all heads with attention, first those with a high rank in one of the scores."""
    if not contents.attention:
        return np.empty(0, np.int64)
    n_layers, n_heads = next(iter(contents.attention.values())).shape
    best = np.full(n_layers * n_heads, n_layers * n_heads)
    for scores in (*contents.maps.values(), *list(contents.heads.values())[:1]):
        for (layer, head), rank in ranks(scores).items():
            best[layer * n_heads + head] = min(best[layer * n_heads + head], rank)
    return np.argsort(best, kind="stable")
