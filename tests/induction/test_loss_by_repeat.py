import math

import pytest
import torch

from headcount.induction.formulas.loss_by_repeat import loss_by_repeat, repeat_statistics, token_loss
from headcount.results import InputError


def test_token_loss_is_minus_the_log_probability_of_the_next_token() -> None:
    logits, tokens = torch.randn(2, 7, 11), torch.randint(11, (2, 7))
    loss = token_loss(logits, tokens)
    assert loss.shape == (2, 6)
    for sequence in range(2):
        for j in range(1, 7):
            probability = logits[sequence, j - 1].softmax(-1)[tokens[sequence, j]]
            assert loss[sequence, j - 1].item() == pytest.approx(-math.log(probability), abs=1e-5)


def test_token_loss_is_float32_whatever_the_logits_are() -> None:
    logits, tokens = torch.randn(1, 5, 11).bfloat16(), torch.randint(11, (1, 5))
    loss = token_loss(logits, tokens)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, token_loss(logits.float(), tokens))


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    loss = token_loss(torch.zeros(1, 9, 50), torch.arange(9)[None])
    torch.testing.assert_close(loss, torch.full((1, 8), math.log(50)))


def test_with_bos_each_repeat_has_all_its_tokens() -> None:
    loss = torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], [0.0, 0.0, 3.0, 1.0, 1.0, 1.0]])
    expected = torch.tensor([[2.0, 20.0], [1.0, 1.0]])
    torch.testing.assert_close(loss_by_repeat(loss, period=3, bos=True), expected)


def test_without_bos_nothing_predicts_the_first_token() -> None:
    loss = torch.tensor([[2.0, 4.0, 10.0, 20.0, 30.0]])
    torch.testing.assert_close(loss_by_repeat(loss, period=3, bos=False), torch.tensor([[3.0, 20.0]]))


def test_loss_and_repeats_line_up() -> None:
    tokens = torch.arange(5).repeat(4)[None]
    knows_the_rest = torch.zeros(1, 21, 10)
    knows_the_rest[0, torch.arange(5, 20), tokens[0, 5:]] = 100.0  # BOS at 0, so position j predicts token j + 1
    loss = token_loss(knows_the_rest, torch.cat([torch.tensor([[9]]), tokens], dim=1))
    expected = torch.tensor([[math.log(10), 0.0, 0.0, 0.0]])
    torch.testing.assert_close(loss_by_repeat(loss, period=5, bos=True), expected)


def test_statistics_over_sequences() -> None:
    by_repeat = torch.tensor([[5.0, 4.0, 1.0], [6.0, 4.0, 3.0], [7.0, 1.0, 5.0]])
    statistics = repeat_statistics(by_repeat)
    torch.testing.assert_close(statistics.loss, torch.tensor([6.0, 3.0, 3.0]))
    torch.testing.assert_close(statistics.variance, torch.tensor([1.0, 3.0, 4.0]))
    assert statistics.late_minus_early.item() == pytest.approx(-3.0)
    assert statistics.late_minus_early_stderr.item() == pytest.approx(1 / math.sqrt(3))  # −4, −3 and −2
    assert statistics.n == 3


def test_one_sequence_has_no_variance() -> None:
    statistics = repeat_statistics(torch.tensor([[5.0, 4.0]]))
    assert statistics.late_minus_early.item() == -1.0
    assert statistics.variance.isnan().all()
    assert statistics.late_minus_early_stderr.isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_loss(torch.zeros(1, 1, 5), torch.zeros(1, 1, dtype=torch.long)), "2 tokens or more, got shape"),
        (lambda: loss_by_repeat(torch.zeros(1, 8), 0, bos=True), "a period of 1 or more, got 0"),
        (lambda: loss_by_repeat(torch.zeros(1, 8), 1, bos=False), "a period of 2 or more, got 1"),
        (lambda: loss_by_repeat(torch.zeros(1, 8), 3, bos=True), "whole repeats of 3 tokens, got losses of 8 tokens"),
        (lambda: loss_by_repeat(torch.zeros(1, 8), 4, bos=False), "whole repeats of 4 tokens, got losses of 9 tokens"),
        (lambda: loss_by_repeat(torch.zeros(1, 8), 8, bos=True), "two or more whole repeats"),
        (lambda: repeat_statistics(torch.zeros(0, 4)), "1 sequence or more of 2 repeats or more, got 0 of 4"),
        (lambda: repeat_statistics(torch.zeros(3, 1)), "1 sequence or more of 2 repeats or more, got 3 of 1"),
    ],
)
def test_bad_input_says_what_was_expected_and_what_came(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
