"""Scores of whole models: equal to the plain loops, whatever the batch, the implementation and the order."""

import numpy as np
import pytest
import torch
from reference import copying as reference_copying
from reference import prefix as reference_prefix
from reference.models import BOS, BUILDERS, VOCAB, bpe_tokenizer, opt

from headcount import induction
from headcount.induction.tokens.sampling import distinct_row, model_token_pool, repeated_row, spread_sequences
from headcount.results import InputError
from headcount.tracing import load_model, masked, randomised

PERIOD = 9
models = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


def repeated(bos: bool, n: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(VOCAB - 10, generator=draw)[:PERIOD] + 10 for _ in range(n)]).repeat(1, 4)
    return torch.cat([torch.full((n, 1), BOS), rows], 1) if bos else rows


def distinct(n: int = 3, length: int = 30) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    rows = torch.stack([torch.randperm(VOCAB - 10, generator=draw)[:length] + 10 for _ in range(n)])
    return torch.cat([torch.full((n, 1), BOS), rows], 1)


@models
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("definition", reference_prefix.DEFINITIONS)
def test_prefix_matching_equals_the_plain_loop(build, bos, definition):
    hf, tokens = build(), repeated(bos)
    expected = reference_prefix.prefix_matching(hf, tokens, PERIOD, definition)
    scores = induction.prefix_matching(load_model(hf), tokens, PERIOD, definition)
    assert torch.allclose(scores.values, expected.mean(0), atol=1e-5, rtol=0)
    assert torch.allclose(scores.variance, expected.var(0), atol=1e-6, rtol=0)
    assert (scores.n, scores.definition) == (3, definition)


@models
@pytest.mark.parametrize("definition", ["head-output", "published", "olsson"])
def test_copying_equals_the_plain_loop(build, definition):
    hf, tokens = build(), distinct()
    expected = reference_copying.copying(hf, tokens, definition, bos=True)
    scores = induction.copying(load_model(hf), tokens, definition)
    assert torch.allclose(scores.values, expected.scores.mean(0), atol=1e-5, rtol=0)
    assert torch.allclose(scores.variance, expected.scores.var(0), atol=1e-5, rtol=0)
    assert torch.allclose(scores.extras["self_attention"], expected.self_share.mean(0), atol=1e-6)
    assert torch.allclose(scores.extras["bos_attention"], expected.bos_share.mean(0), atol=1e-6)


@models
def test_eigenvalue_copying_equals_the_full_product(build):
    hf = build()
    scores = induction.copying(load_model(hf), distinct(), "eigenvalue")
    assert torch.allclose(scores.values, reference_copying.eigenvalue_copying(hf).float(), atol=1e-5, rtol=0)


@models
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_attention_implementation_does_not_change_the_scores(build, implementation):
    tokens = repeated(True)
    plain = induction.prefix_matching(load_model(build()), tokens, PERIOD)
    hf = build()
    hf.set_attn_implementation(implementation)
    other = induction.prefix_matching(load_model(hf), tokens, PERIOD)
    assert torch.allclose(plain.values, other.values, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, "auto"])
def test_the_batch_size_does_not_change_the_scores(batch_size):
    model = load_model(opt())
    tokens, other = repeated(True, 5), distinct(5)
    expected = induction.prefix_matching(model, tokens, PERIOD, batch_size=3)
    assert torch.allclose(
        induction.prefix_matching(model, tokens, PERIOD, batch_size=batch_size).values, expected.values, atol=1e-6
    )
    expected = induction.copying(model, other, batch_size=3)
    assert torch.allclose(induction.copying(model, other, batch_size=batch_size).values, expected.values, atol=1e-6)


def test_the_order_of_sequences_does_not_change_the_scores():
    model, tokens = load_model(opt()), repeated(True, 4)
    there, back = (induction.prefix_matching(model, rows, PERIOD).values for rows in (tokens, tokens.flip(0)))
    assert torch.allclose(there, back, atol=1e-6)


def test_permuting_heads_permutes_scores():
    order = torch.tensor([2, 0, 3, 1])
    hf, permuted = opt(), opt()
    for layer in permuted.model.decoder.layers:
        attention = layer.self_attn
        rows = torch.arange(32).reshape(4, 8)[order].flatten()
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.data = projection.weight.data[rows]
            projection.bias.data = projection.bias.data[rows]
        attention.out_proj.weight.data = attention.out_proj.weight.data[:, rows]
    plain, permuted_model = load_model(hf), load_model(permuted)
    for measure, tokens in (
        (lambda m, t: induction.prefix_matching(m, t, PERIOD), repeated(True)),
        (induction.copying, distinct()),
    ):
        assert torch.allclose(
            measure(plain, tokens).values[:, order], measure(permuted_model, tokens).values, atol=1e-5
        )


def test_sequences_of_different_lengths_score_as_they_do_alone():
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    together = induction.score_heads(model, 3, seed=4)
    pool = model_token_pool(model)
    chosen = spread_sequences(model, pool, 3)
    periods = [period for _, period in chosen]
    rows = [repeated_row(model, pool, period, 4, number) for number, period in chosen]
    values = [
        induction.prefix_matching(model, row[None], period).values for row, period in zip(rows, periods, strict=True)
    ]
    assert torch.allclose(together.prefix_matching.values, torch.stack(values).mean(0), atol=1e-6)
    rows = [distinct_row(model, pool, 4 * period, 4, number) for number, period in chosen]
    for definition, scores in (("head-output", together.copying), ("published", together.copying_published)):
        values = [induction.copying(model, row[None], definition).values for row in rows]
        assert torch.allclose(scores.values, torch.stack(values).mean(0), atol=1e-5)


def test_lengths_that_do_not_fit_are_left_out_with_a_warning_and_recorded():
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    pool = len(model_token_pool(model).ids)
    longest = min(pool, model.sizes.context - 1)
    fitting = sum(4 * (25 + 2 * s) <= longest for s in range(100))
    with pytest.warns(UserWarning, match=f"{100 - fitting} of 100 sequences are left out"):
        scores = induction.score_heads(model, 100)
    assert scores.prefix_matching.n == fitting
    assert scores.prefix_matching.provenance["left_out"] == list(range(fitting, 100))


def test_the_range_of_lengths_does_not_depend_on_the_number_of_sequences():
    model = load_model("tiny-opt")
    ranges = set()
    for n in (2, 3, 7):
        scores = induction.score_heads(model, n)
        for part in (scores.prefix_matching, scores.copying, scores.copying_published):
            shortest, longest = part.provenance["n_tokens"]
            ranges.add((shortest, longest))
            assert part.length_range == f", {shortest} to {longest} tokens"
            assert part.lengths.tolist() == [4 * period + 1 for period in part.provenance["periods"]]
            assert torch.allclose(part.by_length.mean(0), part.values, atol=1e-6)
    ((shortest, longest),) = ranges
    assert shortest == 101 < longest


def test_a_sequence_has_the_same_tokens_among_few_as_among_many():
    model = load_model("tiny-opt")
    few, many = (induction.score_heads(model, n).copying for n in (3, 5))
    places = [many.provenance["sequences"].index(number) for number in few.provenance["sequences"]]
    assert places == [0, 2, 4]
    assert torch.allclose(few.by_length, many.by_length[places], atol=1e-6)


def test_a_removed_head_changes_the_prefix_matching_of_later_layers_only():
    model, tokens = load_model(opt()), repeated(True)
    before = induction.prefix_matching(model, tokens, PERIOD)
    with masked(model, heads=[(1, 2)]):
        after = induction.prefix_matching(model, tokens, PERIOD)
    assert torch.equal(before.values[:2], after.values[:2])
    assert not torch.allclose(before.values[2], after.values[2], atol=1e-4)
    assert after.provenance["removed_heads"] == [[1, 2]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_give_float32_statistics_near_the_exact_ones(dtype):
    tokens, other = repeated(True), distinct()
    exact, half = load_model(opt()), load_model(opt().to(dtype))
    prefix = induction.prefix_matching(half, tokens, PERIOD)
    assert prefix.values.dtype == torch.float32
    assert torch.allclose(prefix.values, induction.prefix_matching(exact, tokens, PERIOD).values, atol=0.02)
    assert torch.allclose(induction.copying(half, other).values, induction.copying(exact, other).values, atol=0.1)


def test_the_loss_by_repeat_is_that_of_plain_logits():
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    loss = induction.repeat_loss(model, 2, period=PERIOD)
    tokens = induction.repeated_tokens(model, PERIOD, 2)
    log_p = model.hf(input_ids=tokens).logits.log_softmax(-1)
    losses = [[-log_p[s, j - 1, tokens[s, j]].item() for j in range(1, 4 * PERIOD + 1)] for s in range(2)]
    expected = torch.tensor(losses).reshape(2, 4, PERIOD).mean(-1)
    assert torch.allclose(loss.loss, expected.mean(0), atol=1e-4)
    assert loss.late_minus_early == pytest.approx(float((expected[:, 3] - expected[:, 0]).mean()), abs=1e-4)


def test_the_control_has_the_same_shape_other_weights_and_leaves_the_model_alone():
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    before = model.fingerprint()
    control = randomised(model, seed=1)
    assert control.sizes == model.sizes
    assert control.fingerprint() != before == model.fingerprint()
    assert control.fingerprint() == randomised(model, seed=1).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((repeated(True), 8), "37 tokens do not fit period 8"),
        ((repeated(True)[0], PERIOD), r"shape \[batch, pos\], not \[37\]"),
        ((repeated(True).float(), PERIOD), "whole numbers, not torch.float32"),
        ((repeated(True) + VOCAB, PERIOD), "outside .* vocabulary of 168"),
        ((-repeated(True), PERIOD), "token -2 is outside"),
        ((repeated(True).repeat(1, 8), 74), "296 tokens do not fit into"),
        ((repeated(True), PERIOD, "Successor"), "definition must be one of"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        induction.prefix_matching(load_model(opt()), *arguments)
    assert "\n" not in str(caught.value)


def test_tokens_that_do_not_repeat_are_scored_with_a_warning():
    with pytest.warns(UserWarning, match="do not repeat with period 9"):
        induction.prefix_matching(load_model(opt()), distinct(length=36), PERIOD)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "all"])
def test_a_bad_batch_size_is_refused(batch_size):
    with pytest.raises(InputError, match="batch_size"):
        induction.prefix_matching(load_model(opt()), repeated(True), PERIOD, batch_size=batch_size)


@pytest.mark.parametrize("count", [0, -3, 2.0, True])
def test_a_bad_count_is_refused(count):
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    for measure in (lambda: induction.score_heads(model, count), lambda: induction.repeated_tokens(model, 5, count)):
        with pytest.raises(InputError, match="whole number of at least 1"):
            measure()


def test_a_period_that_does_not_fit_the_context_is_refused():
    with pytest.raises(InputError, match="do not fit into"):
        induction.repeated_tokens(load_model(opt(), tokenizer=bpe_tokenizer()), 64)


def test_without_a_tokenizer_there_is_nothing_to_draw_from():
    with pytest.raises(InputError, match="without a tokenizer"):
        induction.score_heads(load_model(opt()), 1)


def test_bos_is_recorded_and_required_where_there_is_a_token_in_front():
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    with_bos, without = repeated(True), repeated(False)
    for tokens, in_front in ((with_bos, True), (without, False)):
        record = induction.prefix_matching(model, tokens, PERIOD).provenance
        assert (record["bos"], record["bos_in_front"]) == (BOS, in_front)
    other = with_bos.clone()
    other[1, 0] = BOS + 1
    with pytest.raises(InputError, match=rf"4 · {PERIOD} \+ 1 tokens: expected the BOS token, {BOS}, in front"):
        induction.prefix_matching(model, other, PERIOD)
    scores = induction.score_heads(model, 1)
    assert all(part.provenance["bos_in_front"] for part in (scores.prefix_matching, scores.copying))
    bare = load_model(opt(), tokenizer=bpe_tokenizer(bos=False))
    record = induction.score_heads(bare, 1).copying.provenance
    assert (record["bos"], record["bos_in_front"]) == (None, False)


@pytest.mark.parametrize("count", [np.int64(2), torch.tensor(2)])
def test_counts_of_other_libraries_are_named_with_the_way_to_go(count):
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    with pytest.raises(InputError, match=r"n_sequences: expected a whole number .*Python's own: int\("):
        induction.score_heads(model, count)
