"""What a remote run sends and gets back, if every batch is one request: a simple model.

Up go the code of the request and the tokens, with positions and a mask where requests of a document share a row; down
come results only, since patterns and activations are reduced on the server: log-probabilities, or scores
[layer, head]. Tokens and masks are counted as they are; what is sent is compressed. A server removes parts by masks, at
the operations of the whole model.
"""

from headcount.planning.flops import Shape
from headcount.tracing.internal import Item, Kind

REQUEST = 16 * 1024
"""Bytes of a request besides its tokens (code, names): 12 to 16 kB were seen for small ones, compressed."""
TOKEN, NUMBER = 8, 4


def up(items: list[Item]) -> int:
    """Bytes of a batch's request."""
    tokens = len(items) * max(item.pos for item in items)
    tree = TOKEN * tokens + tokens * max(item.pos for item in items)
    return REQUEST + TOKEN * tokens + tree * any(item.branched for item in items)


def down(shape: Shape, kind: Kind, items: list[Item]) -> int:
    """Bytes of a batch's answer."""
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
