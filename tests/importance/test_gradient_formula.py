"""The mathematics of head importance, on numbers small enough to follow."""

import pytest
import torch

from headcount.importance.attribution.gradients import (
    Contributions,
    estimate_importance,
    layer_contributions,
    normalised_by_layer,
)
from headcount.results import InputError

read, predicted = torch.tensor([4, 6]), torch.tensor([1, 3])
contributions = Contributions(
    absolute=torch.tensor([[[2.0, 4.0], [1.0, 3.0]], [[8.0, 6.0], [3.0, 5.0]]]),
    signed=torch.tensor([[[1.0, -4.0], [1.0, 0.0]], [[-3.0, 6.0], [3.0, 5.0]]]),
)


def test_token_divides_by_the_positions_that_can_carry_gradient():
    values = estimate_importance(contributions, read, predicted, "token").values
    assert torch.allclose(values, torch.tensor([[10 / 10, 10 / 10], [4 / 4, 8 / 4]]))


def test_example_and_signed_are_means_over_examples():
    assert torch.allclose(
        estimate_importance(contributions, read, predicted, "example").values, torch.tensor([[2.0, 5.0], [2.0, 2.5]])
    )
    assert torch.allclose(
        estimate_importance(contributions, read, predicted, "signed").values, torch.tensor([[-1.0, 1.0], [2.0, 2.5]])
    )


@pytest.mark.parametrize("reduction", ["example", "signed"])
def test_the_variance_of_a_mean_is_the_unbiased_variance_of_its_terms(reduction):
    terms = contributions.signed.abs() if reduction == "example" else contributions.signed
    assert torch.allclose(estimate_importance(contributions, read, predicted, reduction).variance, terms.var(0))


def test_the_variance_of_a_ratio_predicts_how_it_scatters():
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 20, (400, 50), generator=draw)
    sums = lengths[..., None, None] * torch.rand(400, 50, 1, 1, generator=draw)
    estimates = [estimate_importance(Contributions(s, s), n, n, "token") for s, n in zip(sums, lengths, strict=True)]
    scatter = torch.stack([estimate.values for estimate in estimates]).std()
    predicted = torch.stack([estimate.variance for estimate in estimates]).mean().div(50).sqrt()
    assert float(predicted) == pytest.approx(float(scatter), rel=0.1)


def test_folds_are_interleaved_tenths_that_make_up_the_whole():
    sums = torch.rand(30, 2, 3)
    lengths = torch.full((30,), 7)
    whole = estimate_importance(Contributions(sums, sums), lengths, lengths, "token")
    assert whole.folds.shape == (10, 2, 3)
    assert torch.allclose(whole.folds.mean(0), whole.values, atol=1e-6)
    assert torch.allclose(whole.folds[3], sums[3::10].sum(0) / 21)


def test_one_example_has_no_variance_and_one_fold():
    estimate = estimate_importance(
        Contributions(*(part[:1] for part in contributions)), read[:1], predicted[:1], "token"
    )
    assert estimate.variance is None
    assert len(estimate.folds) == 1


def test_contributions_are_float32_whatever_comes():
    z = torch.randn(2, 3, 4, 5)
    absolute, signed = layer_contributions(z.bfloat16(), torch.ones(2, 3, 4, 5).bfloat16())
    assert absolute.dtype == signed.dtype == torch.float32
    assert torch.allclose(signed, z.bfloat16().float().sum((1, 3)), atol=1e-5)


def test_normalising_gives_every_layer_length_one_and_leaves_zeros():
    scores = normalised_by_layer(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert torch.allclose(scores, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_an_unknown_reduction_is_refused():
    with pytest.raises(InputError, match="token, example, drop, signed, not 'mean'"):
        estimate_importance(contributions, read, predicted, "mean")
