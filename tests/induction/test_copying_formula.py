"""The formulas of copying."""

import pytest
import torch

from headcount.induction.formulas import copying
from headcount.induction.formulas.head_logits import HeadUnembedding
from headcount.results import InputError


def score(through, attended, per_head, constant=None, definition="head-output", valid=None):
    length = attended.shape[-1]
    constant = torch.zeros(1, length) if constant is None else constant
    valid = torch.arange(length)[None] >= 1 if valid is None else valid
    return copying.copying_score(through, attended, HeadUnembedding(per_head, constant), valid, definition)


def identity(length: int, attended: torch.Tensor):
    """Outputs that are the attended token itself, and the unembedding of tokens that are unit vectors."""
    tokens = torch.eye(length)
    return 9 * tokens[attended][None, None], tokens[None, None]


@pytest.mark.parametrize("definition", ["head-output", "published", "olsson"])
def test_a_head_that_writes_what_it_attends_to_scores_one(definition):
    attended = torch.tensor([0, 0, 1, 2, 3, 1])
    through, per_head = identity(6, attended)
    assert score(through, attended[None, None], per_head, definition=definition).item() == pytest.approx(1.0, abs=1e-3)


def test_a_head_that_writes_something_else_scores_zero():
    written, attended = torch.tensor([0, 0, 1, 2, 3, 1]), torch.tensor([0, 1, 2, 3, 4, 5])
    through, per_head = identity(6, written)
    assert score(through, attended[None, None], per_head).item() < 1e-3


def test_no_rise_at_all_scores_zero_and_olsson_minus_one():
    through, per_head = torch.zeros(1, 1, 4, 3), torch.randn(1, 1, 4, 3)
    attended = torch.zeros(1, 1, 4, dtype=torch.long)
    assert score(through, attended, per_head).item() == 0
    assert score(through, attended, per_head, definition="olsson").item() == -1


def test_a_constant_added_to_every_logit_changes_nothing():
    draw = torch.Generator().manual_seed(0)
    through, per_head = torch.randn(2, 3, 7, 4, generator=draw), torch.randn(2, 3, 7, 4, generator=draw)
    attended = torch.randint(0, 2, (2, 3, 7), generator=draw)
    valid = (torch.arange(7) >= 1).expand(2, 7)
    plain = score(through, attended, per_head, torch.zeros(2, 7), valid=valid)
    shifted = score(through, attended, per_head, torch.full((2, 7), 300.0), valid=valid)
    assert torch.allclose(plain, shifted, atol=1e-5)


def test_logits_far_below_the_largest_do_not_turn_into_nan():
    through, per_head = torch.full((1, 1, 3, 1), 1000.0), torch.tensor([1.0, -1.0, 0.5])[None, None, :, None]
    scores = score(through, torch.zeros(1, 1, 3, dtype=torch.long), per_head)
    assert scores.isfinite().all()
    assert scores.item() == pytest.approx(1.0)


def test_padding_plays_no_role():
    draw = torch.Generator().manual_seed(1)
    through, per_head = torch.randn(1, 2, 6, 4, generator=draw), torch.randn(1, 2, 6, 4, generator=draw)
    attended = torch.zeros(1, 2, 6, dtype=torch.long)
    padded = [torch.cat([part, 7 * torch.ones_like(part[:, :, :3])], 2) for part in (through, per_head)]
    more = torch.zeros(1, 2, 9, dtype=torch.long)
    valid = ((torch.arange(9) >= 1) & (torch.arange(9) < 6))[None]
    assert torch.allclose(score(through, attended, per_head), score(padded[0], more, padded[1], valid=valid))


def test_eigenvalues_of_the_small_product_are_those_of_the_full_circuit():
    draw = torch.Generator().manual_seed(2)
    w_e, w_u = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((30, 8), (8, 30)))
    w_v, w_o = torch.randn(2, 8, 3, generator=draw).double(), torch.randn(2, 3, 8, generator=draw).double()
    full = torch.linalg.eigvals(w_e @ w_v @ w_o @ w_u)
    expected = full.real.sum(-1) / full.abs().sum(-1)
    assert torch.allclose(copying.eigenvalue_score(w_v, w_o, w_u @ w_e), expected, atol=1e-6)


def test_an_unknown_definition_is_refused():
    with pytest.raises(InputError, match="head-output, published, olsson, eigenvalue, not 'ov'"):
        copying.check_definition("ov")
