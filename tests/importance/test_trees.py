"""Trees of requests: what each token sees, and where each continuation is read."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from headcount.importance.likelihoods.prefix_tree import Tokens, batch, common_prefix, grow

requests = st.lists(
    st.lists(st.integers(0, 2), min_size=2, max_size=7).flatmap(
        lambda ids: st.integers(1, len(ids) - 1).map(lambda start: Tokens(tuple(ids), start))
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(requests, min_size=1, max_size=3))
def test_every_place_that_is_read_sees_exactly_its_requests_tokens_in_order(documents):
    trees = [grow(document) for document in documents]
    rows = batch(trees)
    length = rows.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for row, (document, tree) in enumerate(zip(documents, trees, strict=True)):
        for request, read, targets in zip(document, tree.read, tree.targets, strict=True):
            assert targets == request.ids[request.start :]
            assert len(read) == len(targets)
            for place, position in zip(read, range(request.start - 1, len(request.ids) - 1), strict=True):
                seen = (causal if rows.visible is None else rows.visible[row])[place].nonzero().flatten().tolist()
                positions = range(length) if rows.positions is None else rows.positions[row].tolist()
                assert [rows.ids[row, index].item() for index in seen] == list(request.ids[: position + 1])
                assert [positions[index] for index in seen] == list(range(position + 1))


@given(requests)
def test_a_tree_holds_the_shared_prefix_once(document):
    tree = grow(document)
    inputs = [request.ids[:-1] for request in document]
    shared = common_prefix(inputs)
    assert len(tree.ids) == shared + sum(len(tail) for tail in {row[shared:] for row in inputs})


def test_one_token_choices_need_no_branches_at_all():
    tree = grow([Tokens((5, 6, 7, choice), 3) for choice in (1, 2, 3)])
    assert tree.ids == (5, 6, 7)
    assert tree.read == ((2,), (2,), (2,))
    assert batch([tree]).visible is None
