"""Influences on a number besides the examples: threads, the number format, ties."""

import pytest
import torch

from headcount.importance import accuracy, ffn_importance, head_importance, load_task, prune
from headcount.induction import copying, prefix_matching, repeated_tokens
from headcount.results import HeadScores
from headcount.tracing import load_model


def scores(dtype="float32"):
    """Every score of the model that comes with the package."""
    model, task = load_model("tiny-opt", dtype=dtype), load_task("key_value")
    tokens = repeated_tokens(model, period=25, n_sequences=3)
    return {
        "prefix": prefix_matching(model, tokens, period=25).values,
        "copying": copying(model, tokens).values,
        "heads": head_importance(model, task.examples(shots=2, limit=12)).values,
        "ffns": ffn_importance(model, task, shots=2, limit=12).values,
        "log p": accuracy(model, task, shots=2, limit=12).gold_log_p,
    }


@pytest.fixture(scope="module")
def exact():
    return scores()


def test_the_same_again_is_the_same_to_the_bit(exact):
    again = scores()
    assert all(torch.equal(exact[name], again[name]) for name in exact)


def test_two_threads_differ_by_less_than_1e_5(exact):
    torch.set_num_threads(2)
    try:
        other = scores()
    finally:
        torch.set_num_threads(1)
    for name in exact:
        assert torch.allclose(exact[name], other[name], rtol=0, atol=1e-5), name


# Copying depends on the token that a head attends to most: where its attention is flat, rounding may choose another.
@pytest.mark.parametrize(("dtype", "within"), [("bfloat16", 1.0), ("float16", 0.25)])
def test_16_bits_stay_near_float32(exact, dtype, within):
    rounded = scores(dtype)
    for name, most in (("prefix", 2e-3), ("copying", 4e-2), ("heads", 3e-2), ("log p", 0.3)):
        assert rounded[name].dtype == torch.float32
        assert (exact[name] - rounded[name]).abs().max() <= most * within, name
    assert (exact["ffns"] - rounded["ffns"]).abs().max() <= 1.5 / 12  # one document in twelve


def test_equal_scores_go_by_layer_and_head():
    model, task = load_model("tiny-opt"), load_task("key_value")
    n_layers, n_heads = model.sizes.n_layers, model.sizes.n_heads
    curve = prune(model, task, HeadScores(torch.ones(n_layers, n_heads)), percents=(50,), shots=0, limit=2)
    assert curve.order.flatten().tolist() == list(range(n_layers * n_heads))
