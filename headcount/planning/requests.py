"""Bytes that a remote run sends and receives, if every batch is one request: a simple model.

A request holds its code and the tokens, with positions and a mask where several continuations of a document share a
row. The answer holds results only, since patterns and activations are reduced on the server: log-probabilities, or
scores [layer, head]. Tokens and masks are counted uncompressed, although they are sent compressed. A server removes
parts by masks, at the operations of the whole model.
"""

from headcount.planning.shape import Shape
from headcount.tracing.internal import Item, Kind

REQUEST = 16 * 1024
"""Bytes of a request besides its tokens (code, names): small requests took 12 to 16 kB, compressed."""
TOKEN, NUMBER = 8, 4
"""Bytes of a token, and of a number of a result."""


def bytes_sent(items: list[Item]) -> int:
    """Return the bytes of a batch's request."""
    tokens = len(items) * max(item.pos for item in items)
    tree = TOKEN * tokens + tokens * max(item.pos for item in items)
    return REQUEST + TOKEN * tokens + tree * any(item.branched for item in items)


def bytes_received(shape: Shape, kind: Kind, items: list[Item]) -> int:
    """Return the bytes of a batch's answer."""
    heads, requests = shape.sizes.n_layers * shape.sizes.n_heads, sum(item.requests for item in items)
    numbers = {
        Kind.FORWARD: 2 * requests,
        Kind.FFN_ORACLE: 2 * requests * (shape.sizes.n_layers + 1),
        Kind.GRADIENTS: 2 * heads * len(items),
        Kind.HEAD_ORACLE: heads * len(items),
        Kind.PREFIX: heads * len(items),
        Kind.COPYING: 4 * heads * len(items),
        Kind.LOSS: 4 * len(items),
    }
    return NUMBER * numbers[kind]
