"""Trees of requests: what each token sees, and where each continuation is read."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.prefix_tree import batch_trees, build_tree, common_prefix

requests = st.lists(
    st.lists(st.integers(0, 2), min_size=2, max_size=7).flatmap(
        lambda ids: st.integers(1, len(ids) - 1).map(lambda start: EncodedRequest(tuple(ids), start))
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(requests, min_size=1, max_size=3))
def test_every_place_that_is_read_sees_exactly_its_requests_tokens_in_order(documents):
    trees = [build_tree(document) for document in documents]
    rows = batch_trees(trees)
    length = rows.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for row, (document, tree) in enumerate(zip(documents, trees, strict=True)):
        for request, places, targets in zip(document, tree.predict_at, tree.targets, strict=True):
            assert targets == request.ids[request.start :]
            assert len(places) == len(targets)
            for place, position in zip(places, range(request.start - 1, len(request.ids) - 1), strict=True):
                seen = (causal if rows.visible is None else rows.visible[row])[place].nonzero().flatten().tolist()
                positions = range(length) if rows.positions is None else rows.positions[row].tolist()
                assert [rows.ids[row, index].item() for index in seen] == list(request.ids[: position + 1])
                assert [positions[index] for index in seen] == list(range(position + 1))


@given(requests)
def test_a_tree_holds_the_shared_prefix_once(document):
    tree = build_tree(document)
    inputs = [request.ids[:-1] for request in document]
    shared = common_prefix(inputs)
    assert len(tree.ids) == shared + sum(len(tail) for tail in {row[shared:] for row in inputs})


def test_one_token_choices_need_no_branches_at_all():
    tree = build_tree([EncodedRequest((5, 6, 7, choice), 3) for choice in (1, 2, 3)])
    assert tree.ids == (5, 6, 7)
    assert tree.predict_at == ((2,), (2,), (2,))
    assert batch_trees([tree]).visible is None
