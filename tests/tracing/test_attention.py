"""One attention call, computed in each of its ways, against the softmax written out."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference import raw_hooks
from reference.models import BUILDERS, VOCAB
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing import AttentionCall, load_model

BATCH, POS, D_HEAD, WINDOW = 2, 37, 8, 9


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def allowed(window: int | None = None) -> Tensor:
    """Which keys a query may see [query, key]."""
    query, key = torch.arange(POS)[:, None], torch.arange(POS)
    return (key <= query) & (query - key < (POS if window is None else window))


def additive(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)


def left_padding() -> Tensor:
    """The second sequence begins at position 5; what comes before sees itself alone."""
    begins = torch.tensor([0, 5])[:, None, None]
    seen = allowed()[None] & (torch.arange(POS) >= begins)
    return (seen | torch.eye(POS, dtype=torch.bool))[:, None]


BIAS = drawn(1, 4, POS, POS, seed=9)

MASKS: dict[str, tuple[Tensor | None, Tensor]] = {
    "none": (None, allowed()),
    "boolean": (allowed()[None, None], allowed()),
    "additive": (additive(allowed())[None, None], allowed()),
    "infinite": (torch.zeros(POS, POS).masked_fill(~allowed(), -torch.inf)[None, None], allowed()),
    "window": (allowed(WINDOW)[None, None], allowed(WINDOW)),
    "additive window": (additive(allowed(WINDOW))[None, None], allowed(WINDOW)),
    "padding": (left_padding(), left_padding()),
    "additive padding": (additive(left_padding()), left_padding()),
    "each head's own": (allowed(WINDOW).expand(1, 4, POS, POS), allowed(WINDOW)),
}


@pytest.fixture(params=MASKS)
def mask(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[1, 2, 4], ids=lambda heads: f"{heads} kv heads")
def kv_heads(request: pytest.FixtureRequest) -> int:
    return request.param


def states(kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        drawn(BATCH, 4, POS, D_HEAD, seed=1),
        drawn(BATCH, kv_heads, POS, D_HEAD, seed=2),
        drawn(BATCH, kv_heads, POS, D_HEAD, seed=3),
    )


def call_of(mask: Tensor | None, kv_heads: int = 4, **options: Any) -> AttentionCall:
    return AttentionCall.of((nn.Module(), *states(kv_heads), mask), {"scaling": 0.7, **options})


def written_out(seen: Tensor, kv_heads: int = 4, cap: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Pattern, output and logarithm of the normaliser, query by query, in float64."""
    q, k, v = (tensor.double() for tensor in states(kv_heads))
    seen = seen.expand(BATCH, 4, POS, POS)
    pattern = torch.zeros(BATCH, 4, POS, POS, dtype=torch.float64)
    output, normaliser = torch.zeros_like(q), torch.zeros(BATCH, 4, POS, dtype=torch.float64)
    for batch in range(BATCH):
        for head in range(4):
            keys, values = (tensor[batch, head * kv_heads // 4] for tensor in (k, v))
            for query in range(POS):
                scores = 0.7 * keys @ q[batch, head, query]
                if cap is not None:
                    scores = cap * torch.tanh(scores / cap)
                weights = scores.exp() * seen[batch, head, query]
                pattern[batch, head, query] = weights / weights.sum()
                output[batch, head, query] = pattern[batch, head, query] @ values
                normaliser[batch, head, query] = weights.sum().log()
    return pattern, output, normaliser


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


class TestAgainstTheSoftmaxWrittenOut:
    @pytest.mark.parametrize("cap", [None, 1.5])
    def test_everything(self, mask: str, kv_heads: int, cap: float | None) -> None:
        given, seen = MASKS[mask]
        call = call_of(given, kv_heads, softcap=cap)
        pattern, output, normaliser = written_out(seen, kv_heads, cap)
        close(call.pattern(), pattern)
        close(call.apply(call.pattern()), output)
        for way in (call.attend(), call._in_chunks(), call._in_chunks(rows=5), call._in_chunks(rows=POS)):
            close(way.output, output)
            close(way.log_sum_exp, normaliser)
        for rows in (5, POS):
            for queries, part, of_queries in call.by_rows(rows):
                close(part, pattern[:, :, queries, : part.shape[-1]])
                assert not pattern[:, :, queries, part.shape[-1] :].any()
                close(of_queries, output[:, :, queries])
        assert not call.pattern()[pattern == 0].any()

    def test_a_bias_on_the_scores(self) -> None:
        """A mask may be any number, as in ALiBi."""
        q, k, v = states(4)
        scores = (0.7 * q @ k.mT + BIAS).masked_fill(~allowed(), -torch.inf)
        call = call_of(BIAS.masked_fill(~allowed(), -torch.inf))
        close(call.pattern(), scores.softmax(-1))
        for way in (call.attend(), call._in_chunks(rows=5)):
            close(way.output, scores.softmax(-1) @ v)
            close(way.log_sum_exp, scores.logsumexp(-1))
        query, key = positions()
        actual = call.entries(query, key, call.attend().log_sum_exp)
        close(actual, gathered(scores.softmax(-1), query, key))

    def test_the_scores_given_instead(self) -> None:
        call, scores = call_of(None), drawn(BATCH, 4, POS, POS)
        close(call.pattern(scores), scores.softmax(-1))

    @pytest.mark.parametrize("size", [1, 2, 200])
    def test_other_lengths(self, size: int) -> None:
        q, k, v = (drawn(1, 2, size, D_HEAD, seed=seed) for seed in range(3))
        call = AttentionCall.of((nn.Module(), q, k, v, None), {})
        expected = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        for output in (call.attend().output, call._in_chunks().output, call.apply(call.pattern())):
            close(output, expected)
        assert call.attend().log_sum_exp.shape == (1, 2, size)

    def test_scores_too_large_for_exp(self) -> None:
        q, k, v = states(4)
        call = AttentionCall.of((nn.Module(), 100 * q, k, v, None), {"scaling": 1.0})
        scores = (100 * q @ k.mT).masked_fill(~allowed(), -torch.inf)
        for way in (call.attend(), call._in_chunks()):
            close(way.output, scores.softmax(-1) @ v, 1e-4)
            close(way.log_sum_exp, scores.logsumexp(-1))
        query, key = positions()
        assert call.entries(query, key, call.attend().log_sum_exp).isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_other_dtypes(self, mask: str, dtype: torch.dtype) -> None:
        given, seen = MASKS[mask]
        given = given.to(dtype) if given is not None and given.is_floating_point() else given
        call = AttentionCall.of((nn.Module(), *(tensor.to(dtype) for tensor in states(2)), given), {"scaling": 0.7})
        pattern, output, normaliser = written_out(seen, 2)
        tolerance = 1e-5 if dtype == torch.float64 else 0.03
        assert call.pattern().dtype == call.apply(call.pattern()).dtype == dtype
        close(call.pattern(), pattern, tolerance)
        for way in (call.attend(), call._in_chunks(rows=5)):
            assert way.output.dtype == dtype
            assert way.log_sum_exp.dtype in (torch.float32, dtype)
            close(way.output, output, tolerance)
            close(way.log_sum_exp, normaliser, tolerance)
        query, key = positions()
        entries = call.entries(query, key, call.attend().log_sum_exp)
        assert entries.dtype in (torch.float32, dtype)
        close(entries, gathered(pattern, query, key), tolerance)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("mask", ["none", "boolean"])
    def test_half_precision_is_left_before_anything_is_summed(self, mask: str, dtype: torch.dtype) -> None:
        """Scores of 50 rounded to eight bits would be off by a fifth, and their exponentials with them."""
        q, k, v = (tensor.to(dtype) for tensor in states(2))
        call = AttentionCall.of((nn.Module(), 5 * q, k, v, MASKS[mask][0]), {"scaling": 1.0})
        scores = ((5 * q).float() @ k.float().repeat_interleave(2, 1).mT).masked_fill(~allowed(), -torch.inf)
        assert scores[scores.isfinite()].abs().max() > 50
        query, key = positions()
        for way in (call.attend(), call._in_chunks(rows=5)):
            close(way.log_sum_exp, scores.logsumexp(-1), 1e-3)
            close(call.entries(query, key, way.log_sum_exp), gathered(scores.softmax(-1), query, key), 1e-3)

    def test_nothing_is_changed_in_place(self) -> None:
        before = [tensor.clone() for tensor in states(2)]
        tensors = states(2)
        call = AttentionCall.of((nn.Module(), *tensors, None), {"sliding_window": WINDOW, "softcap": 2.0})
        call.attend(), call.pattern(), call.scores()
        assert all(torch.equal(tensor, was) for tensor, was in zip(tensors, before, strict=True))

    def test_gradients(self) -> None:
        """The quick way has those of the plain one."""
        for mask in (None, additive(allowed(WINDOW))[None, None]):
            gradients = []
            for way in (AttentionCall.attend, AttentionCall._in_chunks):
                tensors = [tensor.requires_grad_(True) for tensor in states(2)]
                call = AttentionCall.of((nn.Module(), *tensors, mask), {})
                gradients.append(torch.autograd.grad(way(call).output.square().sum(), tensors))
            for quick, plain in zip(*gradients, strict=True):
                close(quick, plain)

    def test_shapes_alone(self) -> None:
        call = AttentionCall.of((nn.Module(), *(tensor.to("meta") for tensor in states(2)), None), {})
        assert call.attend().output.shape == (BATCH, 4, POS, D_HEAD)
        assert call.attend().log_sum_exp.shape == (BATCH, 4, POS)
        assert call.pattern().shape == (BATCH, 4, POS, POS)


def positions() -> tuple[Tensor, Tensor]:
    """Pairs of every kind: before, on and after the diagonal, within the window and beyond."""
    generator = torch.Generator().manual_seed(4)
    pairs = torch.randint(POS, (2, BATCH, 60), generator=generator)
    return pairs[0], pairs[1]


def gathered(pattern: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return torch.stack([pattern[batch, :, query[batch], key[batch]] for batch in range(BATCH)])


class TestEntries:
    @pytest.mark.parametrize("cap", [None, 1.5])
    def test_they_are_the_patterns(self, mask: str, kv_heads: int, cap: float | None) -> None:
        given, seen = MASKS[mask]
        call = call_of(given, kv_heads, softcap=cap)
        query, key = positions()
        actual = call.entries(query, key, call.attend().log_sum_exp)
        expected = gathered(written_out(seen, kv_heads, cap)[0], query, key)
        assert actual.shape == (BATCH, 4, 60)
        assert actual.dtype == torch.float32
        close(actual, expected)
        assert torch.equal(actual == 0, expected == 0)
        assert (actual == 0).any()

    def test_all_of_a_row_sum_to_one(self, mask: str) -> None:
        given, _ = MASKS[mask]
        call = call_of(given)
        query = torch.full((BATCH, POS), 30)
        actual = call.entries(query, torch.arange(POS).expand(BATCH, -1), call.attend().log_sum_exp)
        close(actual.sum(-1), torch.ones(BATCH, 4))

    def test_no_pairs(self) -> None:
        call, none = call_of(None), torch.zeros(BATCH, 0, dtype=torch.long)
        assert call.entries(none, none, call.attend().log_sum_exp).shape == (BATCH, 4, 0)


class TestHeadsAlone:
    def test_they_do_what_they_do_among_all(self, mask: str, kv_heads: int) -> None:
        call = call_of(MASKS[mask][0], kv_heads, softcap=1.5 if mask == "window" else None)
        everything = call.attend()
        for heads in ([0], [3, 1], [2, 2, 0], [0, 1, 2, 3]):
            alone = call.of_heads(torch.tensor(heads))
            close(alone.attend().output, everything.output[:, heads])
            close(alone.attend().log_sum_exp, everything.log_sum_exp[:, heads])
            close(alone.pattern(), call.pattern()[:, heads])


class TestArguments:
    @pytest.mark.parametrize("window", [1, WINDOW, POS - 1, POS, 500])
    def test_a_window_without_a_mask(self, window: int) -> None:
        """transformers leaves the mask out where it may; the window holds all the same."""
        pattern, output, normaliser = written_out(allowed(window))
        call = call_of(None, sliding_window=window)
        close(call.pattern(), pattern)
        close(call.attend().output, output)
        close(call.attend().log_sum_exp, normaliser)
        query, key = positions()
        close(call.entries(query, key, call.attend().log_sum_exp), gathered(pattern, query, key))

    def test_a_mask_says_all_about_the_window(self) -> None:
        close(call_of(MASKS["boolean"][0], sliding_window=3).pattern(), call_of(MASKS["boolean"][0]).pattern())

    def test_the_scale_there_is_if_none_is_given(self) -> None:
        call = AttentionCall.of((nn.Module(), *states(4), None), {"scaling": None})
        assert call.scale == pytest.approx(1 / math.sqrt(D_HEAD))

    def test_what_has_no_effect(self) -> None:
        options = {"position_ids": torch.arange(POS), "use_cache": False, "output_attentions": True, "dropout": 0.0}
        options |= {"cache_position": None, "is_causal": True, "anything": None}
        assert torch.equal(call_of(None, **options).attend().output, call_of(None).attend().output)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"position_bias": torch.ones(4)}, "position_bias"),
            ({"head_mask": torch.ones(4)}, "head_mask"),
            ({"alibi": 1}, "alibi"),
            ({"cu_seq_lens_q": torch.ones(2), "alibi": False}, "alibi, cu_seq_lens_q"),
            ({"dropout": 0.1}, "dropout=0.1"),
            ({"is_causal": False}, "is_causal=False"),
        ],
    )
    def test_what_is_not_known_is_refused_by_name(self, options: dict[str, Any], named: str) -> None:
        with pytest.raises(
            InputError, match=f"Module calls attention in a way that is not supported .*{named}"
        ) as error:
            call_of(None, **options)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("mask", "named"),
        [
            (torch.ones(BATCH, POS), r"mask \[2, 37\]"),
            (torch.ones(POS, POS, dtype=torch.bool), r"mask \[37, 37\]"),
            (SimpleNamespace(), "mask SimpleNamespace"),
        ],
    )
    def test_masks_of_another_form_are_refused(self, mask: Any, named: str) -> None:
        with pytest.raises(InputError, match=named):
            call_of(mask)

    def test_a_further_argument_is_refused(self) -> None:
        with pytest.raises(InputError, match="not supported"):
            AttentionCall.of((nn.Module(), *states(4), None, "more"), {})

    def test_a_module_that_is_not_causal_is_refused(self) -> None:
        module = nn.Module()
        module.is_causal = False
        with pytest.raises(InputError, match="is_causal=False"):
            AttentionCall.of((module, *states(4), None), {})


class TestOnGPUs:
    @pytest.mark.parametrize("d_head", [1, 6, 8, 12])
    def test_the_kernel_gets_what_it_takes(self, d_head: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stand-in for the kernel of CUDA: heads of a multiple of 8 numbers alone; rows of sums that are padded."""

        def kernel(q: Tensor, k: Tensor, v: Tensor, *rest: Any, scale: float) -> tuple[Tensor, ...]:
            assert rest == (None, True, 0.0, True)
            assert {x.shape[-1] % 8 for x in (q, k, v)} == {0}
            assert q.shape == k.shape == v.shape
            scores = (scale * q @ k.mT).masked_fill(~allowed(), -torch.inf)
            log_sum_exp = nn.functional.pad(scores.logsumexp(-1), (0, -POS % 32), value=torch.nan)
            return scores.softmax(-1) @ v, log_sum_exp, Tensor(), Tensor()

        monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_efficient_attention", kernel)
        q, k, v = (drawn(BATCH, heads, POS, d_head, seed=heads) for heads in (4, 2, 1))
        call = AttentionCall(q, k, v.expand(-1, 2, -1, -1), None, 0.7)
        actual, expected = call._efficient_cuda(), call._in_chunks()
        assert actual.output.shape == q.shape
        close(actual.output, expected.output)
        close(actual.log_sum_exp, expected.log_sum_exp)


class TestInModels:
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", BUILDERS)
    def test_calls_of_every_architecture(self, name: str, attention: str) -> None:
        """Taken over at the call, attention returns what the model's own does, whichever way it is computed.

        In float64: the scores of these weights are large, and float32 rounds their exponentials by 1e-5 on some
        processors.
        """
        hf = BUILDERS[name]().double().requires_grad_(False)
        hf.set_attn_implementation(attention)
        model, tokens = load_model(hf), torch.randint(VOCAB, (2, 45), generator=torch.Generator().manual_seed(6))
        calls: list[AttentionCall] = []
        model.run_until_last(
            tokens, [(f"blocks.{layer}.attn.call", lambda call, hook: calls.append(call)) for layer in range(3)]
        )
        patterns = raw_hooks.eager_patterns(hf, tokens)
        assert len(calls) == 3
        for layer, call in enumerate(calls):
            z = raw_hooks.value(hf, tokens, layer, "attn.hook_z").transpose(1, 2)
            close(call.pattern(), patterns[layer])
            for way in (call.attend(), call._in_chunks(rows=7)):
                close(way.output, z)
                query, key = torch.tril_indices(45, 45)[:, None].expand(-1, 2, -1)
                entries = call.entries(query, key, way.log_sum_exp)
                close(entries, torch.stack([patterns[layer][row][:, query[row], key[row]] for row in range(2)]))
