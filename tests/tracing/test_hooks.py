"""`run_with_cache` and `run_with_hooks` against PyTorch's own hooks, on every supported architecture."""

from collections.abc import Callable
from functools import cache, partial
from threading import Thread
from typing import NamedTuple

import numpy as np
import pytest
import torch
from reference import raw_hooks
from reference.models import BUILDERS, GROUPED, SIZES, VOCAB, bpe_tokenizer, build
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    OPTConfig,
    PreTrainedModel,
    Qwen3Config,
)

from headcount.results import InputError
from headcount.tracing import Hook, Model, load_model, masked


def sequential_gpt_neox() -> PreTrainedModel:
    """Attention before the feed-forward network, not beside it."""
    return build(GPTNeoXConfig(**SIZES, intermediate_size=48, use_parallel_residual=False), 0)


def gemma1() -> PreTrainedModel:
    return build(GemmaConfig(**GROUPED, head_dim=12), 0)


def gemma2() -> PreTrainedModel:
    """Capped attention scores; eager attention only."""
    config = Gemma2Config(**GROUPED, head_dim=12, attn_logit_softcapping=2.0, sliding_window=30)
    config._attn_implementation = "eager"
    return build(config, 0)


def qwen3() -> PreTrainedModel:
    return build(Qwen3Config(**GROUPED, head_dim=12), 0)


def plain_opt() -> PreTrainedModel:
    """Neither biases nor norms with weights."""
    config = OPTConfig(
        **SIZES, ffn_dim=48, word_embed_proj_dim=32, enable_bias=False, layer_norm_elementwise_affine=False
    )
    return build(config, 0)


def layer_scaled_gpt2() -> PreTrainedModel:
    """Attention scores divided by the layer's number as well."""
    return build(GPT2Config(**SIZES, n_inner=48, scale_attn_by_inverse_layer_idx=True), 0)


MAKERS: dict[str, Callable[..., PreTrainedModel]] = BUILDERS | {
    maker.__name__: maker for maker in (sequential_gpt_neox, gemma1, gemma2, qwen3, plain_opt, layer_scaled_gpt2)
}
CASES = [(name, how) for name in MAKERS for how in ("sdpa", "eager") if (name, how) != ("gemma2", "sdpa")]
LENGTH = 45  # beyond every sliding window


class Case(NamedTuple):
    hf: PreTrainedModel
    model: Model
    tokens: Tensor


def tokens_of(batch: int, pos: int, seed: int = 0) -> Tensor:
    """Any tokens at all, the padding token among them, though not at an edge, where it would be padding."""
    tokens = torch.randint(VOCAB, (batch, pos), generator=torch.Generator().manual_seed(seed))
    tokens[:, [0, -1]] = tokens[:, [0, -1]].clamp(min=2)
    return tokens


@cache
def opened(name: str, attention: str | None = None) -> Case:
    hf = MAKERS[name]()
    if attention is not None:
        hf.set_attn_implementation(attention)
    hf.requires_grad_(False)
    return Case(hf, load_model(hf, tokenizer=bpe_tokenizer()), tokens_of(2, LENGTH))


@cache
def raw_values(name: str, attention: str | None = None) -> dict[str, Tensor]:
    case = opened(name, attention)
    return raw_hooks.read(case.hf, case.tokens)


@pytest.fixture(params=[*BUILDERS, "sequential_gpt_neox", "gemma2"])
def case(request: pytest.FixtureRequest) -> Case:
    return opened(request.param)


@pytest.fixture
def llama() -> Case:
    return opened("llama")


def close(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Equal to 1e-5, or to that share of the largest value where values exceed one."""
    assert actual.shape == expected.shape, what
    finite = actual.masked_fill(actual == expected, 0) - expected.masked_fill(actual == expected, 0)
    assert finite.abs().max() <= 1e-5 * max(1.0, expected[expected.isfinite()].abs().max()), what


def changed(value: Tensor, hook: object = None) -> Tensor:
    """An edit that fits any hook: positions and heads trade places, everything shrinks and shifts."""
    return 0.7 * value.flip(1) + 0.1


def names_of(case: Case) -> list[str]:
    return raw_hooks.hooks(case.hf)


def in_one_block(case: Case) -> list[str]:
    return ["hook_embed", *(f"blocks.1.{name}" for name in raw_hooks.block_hooks(case.hf))]


class TestReading:
    @pytest.mark.parametrize(("name", "attention"), CASES)
    def test_everything_equals_raw_hooks(self, name: str, attention: str) -> None:
        case = opened(name, attention)
        assert case.hf.config._attn_implementation == attention
        logits, cached = case.model.run_with_cache(case.tokens)
        close(logits, case.hf(case.tokens).logits)
        for hook, expected in raw_values(name, attention).items():
            assert cached[hook].shape == expected.shape, hook
            close(cached[hook], expected)

    def test_one_hook_alone_shows_the_same(self, case: Case) -> None:
        _, everything = case.model.run_with_cache(case.tokens)
        for name in in_one_block(case):
            _, cached = case.model.run_with_cache(case.tokens, names=name)
            assert list(cached) == [name]
            close(cached[name], everything[name])

    def test_reading_leaves_the_model_as_it_was(self, case: Case) -> None:
        before = case.hf(case.tokens).logits
        state = {name: tensor.clone() for name, tensor in case.hf.state_dict().items()}
        case.model.run_with_cache(case.tokens)
        assert torch.equal(case.hf(case.tokens).logits, before)
        assert all(torch.equal(tensor, state[name]) for name, tensor in case.hf.state_dict().items())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.hf.modules())

    def test_nothing_asked_for(self, llama: Case) -> None:
        logits, cached = llama.model.run_with_cache(llama.tokens, names=[])
        assert len(cached) == 0
        assert torch.equal(logits, llama.hf(llama.tokens).logits)
        assert torch.equal(llama.model.run_with_hooks(llama.tokens), logits)
        assert torch.equal(llama.model(llama.tokens), logits)

    def test_names_in_every_form(self, llama: Case) -> None:
        z = [f"blocks.{layer}.attn.hook_z" for layer in range(3)]
        run = partial(llama.model.run_with_cache, llama.tokens)
        for names in (z, z[::-1], tuple(z), set(z), (name for name in z), lambda name: name.endswith("hook_z")):
            assert list(run(names)[1]) == z
        assert list(run(names_filter=z)[1]) == z
        assert list(run(["hook_embed", lambda name: name.startswith("blocks.0.hook_")])[1])[:2] == [
            "hook_embed",
            "blocks.0.hook_resid_pre",
        ]
        assert len(run(lambda name: False)[1]) == 0

    def test_what_comes_out_is_plain(self) -> None:
        hf = BUILDERS["llama"]()
        assert all(parameter.requires_grad for parameter in hf.parameters())
        logits, cached = load_model(hf).run_with_cache(tokens_of(1, 5))
        assert not any(tensor.requires_grad for tensor in [logits, *cached.values()])
        assert not any(tensor.is_inference() for tensor in cached.values())

    def test_a_later_edit_does_not_reach_back_into_the_cache(self, case: Case) -> None:
        _, expected = case.model.run_with_cache(case.tokens)
        _, cached = case.model.run_with_cache(case.tokens)
        for value in cached.values():
            value.zero_()
        close(case.model(case.tokens), case.hf(case.tokens).logits)
        _, again = case.model.run_with_cache(case.tokens)
        assert all(torch.equal(again[name], expected[name]) for name in expected)

    def test_each_activation_has_memory_of_its_own(self, case: Case) -> None:
        """What leaves one block enters the next, and one projection may hold queries, keys and values."""
        _, cached = case.model.run_with_cache(case.tokens)
        memory = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in cached.values()}
        assert len(memory) == len(cached)
        assert sum(memory.values()) == sum(value.nbytes for value in cached.values())

    @pytest.mark.parametrize(("batch", "pos"), [(1, 1), (3, 1), (1, 256), (40, 3)])
    def test_any_shape(self, case: Case, batch: int, pos: int) -> None:
        tokens = tokens_of(batch, pos)
        logits, cached = case.model.run_with_cache(tokens)
        close(logits, case.hf(tokens).logits)
        sizes = case.model.sizes
        assert cached["pattern", 2].shape == (batch, sizes.n_heads, pos, pos)
        assert cached["result", 0].shape == (batch, pos, sizes.n_heads, sizes.d_model)
        assert cached["k", 1].shape == (batch, pos, sizes.n_kv_heads, sizes.d_head)
        close(cached["pattern", 1].sum(-1), torch.ones(batch, sizes.n_heads, pos))

    def test_batches_and_single_sequences_agree(self, case: Case) -> None:
        _, together = case.model.run_with_cache(case.tokens)
        for row in range(2):
            _, alone = case.model.run_with_cache(case.tokens[row : row + 1])
            for name, value in alone.items():
                close(together[name][row : row + 1], value)


class TestPositions:
    @pytest.mark.parametrize("name", ["opt", "opt_350m_style", "gpt2"])
    def test_they_are_there_for_every_sequence(self, name: str) -> None:
        case = opened(name)
        position = case.hf.get_submodule({"gpt2": "transformer.wpe"}.get(name, "model.decoder.embed_positions"))
        raw = raw_hooks.run_and_take(case.hf, case.tokens, position, "out")
        _, cached = case.model.run_with_cache(case.tokens)
        assert cached["hook_pos_embed"].shape == (2, LENGTH, 32)
        close(cached["hook_pos_embed"], raw.expand(2, -1, -1))
        close(cached["embed"] + cached["pos_embed"], cached["resid_pre", 0])

    @pytest.mark.parametrize("name", ["opt", "opt_350m_style", "gpt2"])
    def test_sequences_may_get_different_ones(self, name: str) -> None:
        case = opened(name)

        def second_row_without(value: Tensor, hook: Hook) -> Tensor:
            return value * torch.tensor([1.0, 0.0])[:, None, None]

        def in_place(value: Tensor, hook: Hook) -> None:
            value[1] = 0

        logits = case.model.run_with_hooks(case.tokens, [("hook_pos_embed", second_row_without)])
        embedded = case.model.run_with_cache(case.tokens, "hook_embed")[1]["embed"]
        expected = raw_hooks.run_edited(
            case.hf, case.tokens, [("blocks.0.hook_resid_pre", lambda raw: torch.stack([raw[0], embedded[1]]))]
        )
        close(logits, expected)
        close(case.model.run_with_hooks(case.tokens, [("hook_pos_embed", in_place)]), expected)

    @pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma3"])
    def test_rotary_models_have_none(self, name: str) -> None:
        with pytest.raises(InputError, match="hook_pos_embed"):
            opened(name).model.run_with_cache(tokens_of(1, 3), ["hook_pos_embed"])


class TestWriting:
    @pytest.mark.parametrize(("name", "attention"), CASES)
    def test_each_edit_equals_the_edit_by_raw_hooks(self, name: str, attention: str) -> None:
        case = opened(name, attention)
        plain = case.hf(case.tokens).logits
        for hook in in_one_block(case):
            expected = raw_hooks.run_edited(case.hf, case.tokens, [(hook, changed)])
            actual = case.model.run_with_hooks(case.tokens, [(hook, changed)])
            assert (actual - plain).abs().max() > 0.01, hook
            close(actual, expected, hook)

    @pytest.mark.parametrize("layer", [0, 2])
    def test_in_the_first_and_last_block(self, case: Case, layer: int) -> None:
        for hook in raw_hooks.block_hooks(case.hf):
            name = f"blocks.{layer}.{hook}"
            expected = raw_hooks.run_edited(case.hf, case.tokens, [(name, changed)])
            close(case.model.run_with_hooks(case.tokens, [(name, changed)]), expected)

    def test_what_comes_after_an_edit_is_read_edited(self, case: Case) -> None:
        seen: dict[str, Tensor] = {}

        def record(value: Tensor, hook: Hook) -> None:
            seen[hook.name] = value

        names, edited = in_one_block(case), ["attn.hook_q", "attn.hook_pattern", "attn.hook_result", "hook_resid_mid"]
        for hook in [name for name in names if name.removeprefix("blocks.1.") in edited]:
            later = names[names.index(hook) + 1 :]
            case.model.run_with_hooks(case.tokens, [(hook, changed), *((name, record) for name in later)])
            with raw_hooks.edited(case.hf, case.tokens, hook, changed):
                for name in later:
                    if "mid" in hook and name.split(".")[-1] in ("hook_pre", "hook_post", "hook_mlp_out"):
                        continue  # by hand, these run twice
                    close(seen[name], raw_hooks.value(case.hf, case.tokens, 1, name.split(".", 2)[2]))

    def test_the_same_value_put_back_changes_nothing(self, case: Case) -> None:
        names = names_of(case)
        for hooks in (
            [(name, lambda v, hook: v.clone()) for name in names],
            [(name, lambda v, hook: v) for name in names],
        ):
            close(case.model.run_with_hooks(case.tokens, hooks), case.hf(case.tokens).logits)

    def test_hooks_that_return_none_change_nothing(self, case: Case) -> None:
        calls: list[str] = []

        def watch(value: Tensor, hook: Hook) -> None:
            calls.append(hook.name)

        logits = case.model.run_with_hooks(case.tokens, [(name, watch) for name in names_of(case)])
        close(logits, case.hf(case.tokens).logits)
        assert calls == [name for name in case.model.hooks if name in set(names_of(case))]
        assert sorted(calls) == sorted(names_of(case))

    def test_a_residual_edit_reaches_both_branches(self, case: Case) -> None:
        if raw_hooks.is_parallel(case.hf):
            with pytest.raises(InputError, match="hook_resid_mid"):
                case.model.run_with_hooks(case.tokens, [("blocks.1.hook_resid_mid", changed)])
            return
        _, before = case.model.run_with_cache(case.tokens)
        seen: dict[str, Tensor] = {}

        def record(value: Tensor, hook: Hook) -> None:
            seen[hook.name] = value

        later = ["blocks.1.hook_mlp_out", "blocks.1.hook_resid_post"]
        edits = [("blocks.1.hook_resid_mid", changed)]
        case.model.run_with_hooks(case.tokens, [*edits, *((name, record) for name in later)])
        mlp_out, post = (seen[name] for name in later)
        assert not torch.allclose(mlp_out, before["mlp_out", 1], atol=0.01)
        mid = changed(before["resid_mid", 1])
        if not raw_hooks.is_post_norm(case.hf):
            close(post, mid + mlp_out)

    def test_every_place_at_once(self, case: Case) -> None:
        names = sorted(names_of(case), key=list(case.model.hooks).index)
        edits = {name: partial(lambda v, by: v * by + 0.01, by=0.9 + 0.005 * place) for place, name in enumerate(names)}
        expected = raw_hooks.run_edited(case.hf, case.tokens, [(name, edits[name]) for name in names])
        given = [(name, lambda v, hook: edits[hook.name](v)) for name in names]
        for hooks in (given, given[::-1]):
            close(case.model.run_with_hooks(case.tokens, hooks), expected)

    def test_hooks_on_one_name_apply_in_the_order_given(self, case: Case) -> None:
        for name in in_one_block(case):
            double, add = (name, lambda v, hook: 2 * v), (name, lambda v, hook: v + 0.3)
            one = case.model.run_with_hooks(case.tokens, [double, add])
            close(one, case.model.run_with_hooks(case.tokens, [(name, lambda v, hook: 2 * v + 0.3)]))
            other = case.model.run_with_hooks(case.tokens, [add, double])
            assert not torch.equal(one, other)

    def test_z_and_result_and_their_sum(self, case: Case) -> None:
        """Three hooks on one module: what the first leaves is what the next sees."""
        at = "blocks.1."
        hooks = [(at + "hook_attn_out", lambda v, hook: v + 1), (at + "attn.hook_result", changed)]
        hooks += [(at + "attn.hook_z", lambda v, hook: v.flip(2))]
        expected = raw_hooks.run_edited(
            case.hf,
            case.tokens,
            [
                (at + "attn.hook_z", lambda v: v.flip(2)),
                (at + "attn.hook_result", changed),
                (at + "hook_attn_out", lambda v: v + 1),
            ],
        )
        close(case.model.run_with_hooks(case.tokens, hooks), expected)

    def test_queries_keys_and_scores(self, case: Case) -> None:
        """What is edited before the softmax is what the pattern is made of."""
        at, seen = "blocks.1.attn.", {}

        def record(value: Tensor, hook: Hook) -> None:
            seen[hook.name] = value

        hooks = [(at + name, changed) for name in ("hook_rot_q", "hook_rot_k", "hook_attn_scores")]
        hooks = [
            *hooks,
            *((at + name, record) for name in ("hook_rot_q", "hook_rot_k", "hook_attn_scores", "hook_pattern")),
        ]
        logits = case.model.run_with_hooks(case.tokens, hooks)
        q, k = (seen[at + name].transpose(1, 2) for name in ("hook_rot_q", "hook_rot_k"))
        assert q.shape == (2, case.model.sizes.n_heads, LENGTH, case.model.sizes.d_head)
        assert k.shape[1] == case.model.sizes.n_kv_heads
        close(seen[at + "hook_pattern"], seen[at + "hook_attn_scores"].softmax(-1))
        pattern = seen[at + "hook_pattern"]
        close(logits, raw_hooks.run_edited(case.hf, case.tokens, [(at + "hook_pattern", lambda _: pattern)]))

    def test_scores_become_the_pattern(self, case: Case) -> None:
        _, cached = case.model.run_with_cache(case.tokens)
        for layer in range(3):
            scores, pattern = cached["attn_scores", layer], cached["pattern", layer]
            close(scores.softmax(-1), pattern)
            assert torch.equal(scores <= torch.finfo(torch.float32).min, pattern == 0)


class TestHookFunctions:
    NAME = "blocks.1.attn.hook_z"

    def test_every_way_to_take_the_arguments(self, llama: Case) -> None:
        expected = llama.model.run_with_hooks(llama.tokens, [(self.NAME, changed)])

        def keyword_only(value: Tensor, *, hook: Hook) -> Tensor:
            assert hook.name == self.NAME
            return changed(value)

        def other_names(z: Tensor, where: Hook) -> Tensor:
            assert where.layer() == 1
            return changed(z)

        def defaults(value: Tensor, hook: Hook | None = None, by: float = 0.7) -> Tensor:
            assert hook is not None
            return by * value.flip(1) + 0.1

        def anything(*args, **kwargs) -> Tensor:
            assert len(args) + len(kwargs) == 2
            return changed(args[0])

        def keywords(value: Tensor, **kwargs: Hook) -> Tensor:
            assert kwargs["hook"].name == self.NAME
            return changed(value)

        def scaled(value: Tensor, by: float, hook: Hook) -> Tensor:
            assert hook.name == self.NAME
            return by * value.flip(1) + 0.1

        def last(by: float, value: Tensor, hook: Hook) -> Tensor:
            return by * value.flip(1) + 0.1

        class Callable:
            def __call__(self, value: Tensor, hook: Hook) -> Tensor:
                return changed(value)

            def method(self, value: Tensor, hook: Hook) -> Tensor:
                return changed(value)

        class Module(nn.Module):
            def forward(self, value: Tensor, hook: Hook) -> Tensor:
                return changed(value)

        functions = [keyword_only, other_names, defaults, anything, keywords, partial(scaled, by=0.7)]
        functions += [partial(last, 0.7), Callable(), Callable().method, Module(), lambda v, hook: changed(v)]
        for function in functions:
            assert torch.equal(llama.model.run_with_hooks(llama.tokens, [(self.NAME, function)]), expected)

    def test_a_predicate_stands_for_every_name_it_fits(self, llama: Case) -> None:
        z = [(f"blocks.{layer}.attn.hook_z", changed) for layer in range(3)]
        by_predicate = llama.model.run_with_hooks(llama.tokens, [(lambda name: name.endswith("hook_z"), changed)])
        assert torch.equal(by_predicate, llama.model.run_with_hooks(llama.tokens, z))

    def test_layers(self, llama: Case) -> None:
        layers: dict[str, int] = {}
        llama.model.run_with_hooks(
            llama.tokens,
            [(lambda name: name.startswith("blocks"), lambda v, hook: layers.update({hook.name: hook.layer()}))],
        )
        assert set(layers.values()) == {0, 1, 2}
        assert layers["blocks.2.mlp.hook_post"] == 2
        with pytest.raises(InputError, match="hook_embed is not in a block"):
            Hook("hook_embed").layer()

    def test_changing_a_value_in_place_is_an_edit(self, case: Case) -> None:
        def in_place(value: Tensor, hook: Hook) -> None:
            value.mul_(0.5).add_(0.1)

        def in_place_and_returned(value: Tensor, hook: Hook) -> Tensor:
            value[:, 1:] *= 0.5
            value[:, :1] *= 0.5
            value += 0.1
            return value

        for name in in_one_block(case):
            expected = case.model.run_with_hooks(case.tokens, [(name, lambda v, hook: 0.5 * v + 0.1)])
            for function in (in_place, in_place_and_returned):
                close(case.model.run_with_hooks(case.tokens, [(name, function)]), expected)
            with torch.inference_mode():
                close(case.model.run_with_hooks(case.tokens, [(name, in_place)]), expected)

    @pytest.mark.parametrize(
        ("returned", "actual"),
        [
            (lambda v: v[:1], r"a tensor of shape \[1, 45, 4, 8\]"),
            (lambda v: v.sum(), r"a tensor of shape \[\]"),
            (lambda v: v.flatten(-2), r"a tensor of shape \[2, 45, 32\]"),
            (lambda v: 0.0, "float"),
            (lambda v: (v,), "tuple"),
            (lambda v: v.numpy(), "ndarray"),
        ],
    )
    def test_a_wrong_return_is_told_from_a_right_one(self, llama: Case, returned: Callable, actual: str) -> None:
        with pytest.raises(InputError, match=rf"{self.NAME} must return None or .* \[2, 45, 4, 8\], not {actual}"):
            llama.model.run_with_hooks(llama.tokens, [(self.NAME, lambda v, hook: returned(v))])

    def test_an_edit_in_another_dtype_is_taken_in_the_models(self, case: Case) -> None:
        for name in in_one_block(case):
            logits = case.model.run_with_hooks(case.tokens, [(name, lambda v, hook: changed(v).double())])
            assert logits.dtype == torch.float32, name
            close(logits, case.model.run_with_hooks(case.tokens, [(name, changed)]))

    @pytest.mark.parametrize(
        "error", [KeyError("a"), RuntimeError("b"), torch.OutOfMemoryError("c"), MemoryError(), KeyboardInterrupt()]
    )
    def test_exceptions_arrive_as_they_are(self, llama: Case, error: BaseException) -> None:
        def fail(value: Tensor, hook: Hook) -> None:
            raise error

        class Own(Exception):  # noqa: N818 - its name is not the point
            pass

        for raised in (error, Own("d", 4)):
            error = raised
            with pytest.raises(type(raised)) as caught:
                llama.model.run_with_hooks(llama.tokens, [(self.NAME, fail)])
            assert type(caught.value) is type(raised)
            assert caught.value.args == raised.args
            assert torch.equal(llama.model(llama.tokens), llama.hf(llama.tokens).logits)

    def test_exceptions_say_where_the_hook_failed(self, llama: Case) -> None:
        def outer(value: Tensor, hook: Hook) -> Tensor:
            return inner(value)

        def inner(value: Tensor) -> Tensor:
            return value @ torch.ones(3, 3)

        with pytest.raises(RuntimeError, match=r"mat1 and mat2|size") as caught:
            llama.model.run_with_hooks(llama.tokens, [(self.NAME, outer)])
        assert "inner" in [frame.name for frame in caught.traceback]

    @pytest.mark.parametrize("hooks", [[("hook_embed",)], ["hook_embed"], ("hook_embed", changed), [("hook_embed", 3)]])
    def test_something_else_than_pairs(self, llama: Case, hooks: object) -> None:
        with pytest.raises(InputError, match="fwd_hooks must be a list of pairs"):
            llama.model.run_with_hooks(llama.tokens, hooks)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "offered"),
        [
            ("blocks.1.attn.hook_zz", "did you mean blocks.1.attn.hook_z"),
            ("blocks.1.attn.hook_patern", "did you mean blocks.1.attn.hook_pattern"),
            ("blocks.7.attn.hook_z", "did you mean blocks.2.attn.hook_z"),
            ("attn", "a block has attn.hook_attn_scores, attn.hook_k, attn.hook_pattern"),
            ("blocks.0.attn.cal", "did you mean blocks.0"),
            ("", "a block has"),
        ],
    )
    def test_the_nearest_are_offered(self, llama: Case, name: str, offered: str) -> None:
        for run in (
            lambda: llama.model.run_with_cache(llama.tokens, [name]),
            lambda: llama.model.run_with_cache(llama.tokens, name),
            lambda: llama.model.run_with_hooks(llama.tokens, [(name, changed)]),
        ):
            with pytest.raises(InputError, match=f"unknown hook name '{name}': {offered}") as caught:
                run()
            assert "call" not in str(caught.value).removeprefix(f"unknown hook name '{name}'")
            assert "skip" not in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_what_is_not_a_name(self, llama: Case) -> None:
        for name in (3, None, ("pattern", 1)):
            with pytest.raises(InputError, match="unknown hook name"):
                llama.model.run_with_cache(llama.tokens, [name])

    def test_every_block_has_the_required_hooks(self, case: Case) -> None:
        for name in names_of(case):
            assert name in case.model.hooks


class TestGradients:
    def test_they_reach_what_a_hook_kept(self, case: Case) -> None:
        """The same as those of a shift that is added, whether the weights are frozen (every other time) or not."""
        try:
            for place, name in enumerate(in_one_block(case)):
                case.hf.requires_grad_(place % 2 == 0)
                close(self.of_what_was_kept(case, name), self.of_a_shift(case, name))
        finally:
            case.hf.requires_grad_(False)

    @staticmethod
    def of_what_was_kept(case: Case, name: str) -> Tensor:
        recorded: list[Tensor] = []

        def record(value: Tensor, hook: Hook) -> None:
            if not value.requires_grad:
                value.requires_grad_(True)
            recorded.append(value)

        logits = case.model.run_with_hooks(case.tokens[:, :6], [(name, record)])
        return torch.autograd.grad(logits[:, -1, :7].sum(), recorded)[0]

    @staticmethod
    def of_a_shift(case: Case, name: str) -> Tensor:
        shifts: list[Tensor] = []

        def shift(value: Tensor, hook: Hook) -> Tensor:
            shifts.append(torch.zeros_like(value, requires_grad=True))
            return value + shifts[0]

        logits = case.model.run_with_hooks(case.tokens[:, :6], [(name, shift)])
        return torch.autograd.grad(logits[:, -1, :7].sum(), shifts)[0]

    def test_they_reach_the_weights(self, case: Case) -> None:
        case.hf.requires_grad_(True)
        try:
            weights = [p for n, p in case.hf.named_parameters() if ".1." in n]
            plain = torch.autograd.grad(case.hf(case.tokens).logits.square().sum(), weights, allow_unused=True)
            watched = case.model.run_with_hooks(case.tokens, [(name, lambda v, hook: None) for name in names_of(case)])
            actual = torch.autograd.grad(watched.square().sum(), weights, allow_unused=True)
        finally:
            case.hf.requires_grad_(False)
        assert [gradient is None for gradient in actual] == [gradient is None for gradient in plain]
        largest = max(gradient.abs().max() for gradient in plain if gradient is not None)
        for ours, theirs in zip(actual, plain, strict=True):
            assert ours is None or (ours - theirs).abs().max() <= 1e-5 * largest

    def test_retained_ones(self, llama: Case) -> None:
        recorded: list[Tensor] = []

        def retain(value: Tensor, hook: Hook) -> None:
            value.requires_grad_(True)
            value.retain_grad()
            recorded.append(value)

        logits = llama.model.run_with_hooks(llama.tokens, [("blocks.0.hook_resid_post", retain)])
        logits.sum().backward()
        assert recorded[0].grad is not None
        assert recorded[0].grad.abs().sum() > 0

    def test_without_them_nothing_is_tracked(self, llama: Case) -> None:
        with torch.no_grad():
            assert not llama.model.run_with_hooks(llama.tokens, [("hook_embed", changed)]).requires_grad
        with torch.inference_mode():
            logits, cached = llama.model.run_with_cache(llama.tokens)
        close(logits, llama.hf(llama.tokens).logits)
        assert len(cached) == len(llama.model.run_with_cache(llama.tokens)[1])


class TestTokens:
    def test_forms_that_mean_the_same(self, llama: Case) -> None:
        expected = llama.model(llama.tokens)
        array = llama.tokens.numpy()
        forms = [
            llama.tokens.int(),
            llama.tokens.to(torch.uint8),
            llama.tokens.tolist(),
            array,
            array.astype(np.uint16),
        ]
        forms += [array.astype(np.int32), [list(row) for row in array], tuple(map(tuple, array.tolist()))]
        for tokens in forms:
            assert torch.equal(llama.model(tokens), expected)
            assert torch.equal(
                llama.model.run_with_cache(tokens)[1]["z", 1], llama.model.run_with_cache(llama.tokens)[1]["z", 1]
            )

    def test_they_are_not_changed(self, llama: Case) -> None:
        before = llama.tokens.clone()
        llama.model.run_with_hooks(llama.tokens, [("hook_embed", changed)])
        assert torch.equal(llama.tokens, before)

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (tokens_of(1, 5)[0], r"shape \[batch, pos\], not \[5\]"),
            (tokens_of(1, 5)[None], r"shape \[batch, pos\], not \[1, 1, 5\]"),
            (torch.tensor(3), r"shape \[batch, pos\], not \[\]"),
            (torch.zeros(0, 5, dtype=torch.long), r"not \[0, 5\]"),
            (torch.zeros(2, 0, dtype=torch.long), r"not \[2, 0\]"),
            (torch.zeros(2, 5), "whole numbers, not torch.float32"),
            (torch.zeros(2, 5, dtype=torch.bool), "whole numbers, not torch.bool"),
            (torch.zeros(2, 5, dtype=torch.complex64), "whole numbers, not torch.complex64"),
            (np.zeros((2, 5)), "whole numbers, not torch.float64"),
            (torch.full((1, 5), VOCAB), f"token {VOCAB} is outside .* vocabulary of {VOCAB} tokens"),
            (torch.tensor([[5, -100]]), "token -100 is outside"),
            (torch.zeros(1, 257, dtype=torch.long), "257 tokens do not fit into .* context of 256"),
            ([[1, 2], [3]], "tokens must be a tensor of whole numbers"),
            (None, "tokens must be a tensor of whole numbers.*NoneType"),
            ({"input_ids": [[4, 2], [3]]}, "tokens must be a tensor of whole numbers"),
            ({"ids": [[4, 2]]}, "expected an encoding with input_ids, got one with ids"),
            ([], "shape"),
        ],
    )
    def test_what_does_not_fit(self, case: Case, tokens: object, message: str) -> None:
        for run in (case.model, case.model.run_with_cache, case.model.run_with_hooks):
            with pytest.raises(InputError, match=message) as caught:
                run(tokens)
            assert "\n" not in str(caught.value)

    def test_text(self, llama: Case) -> None:
        ids = torch.tensor([llama.model.tokenizer.encode("so we go")])
        assert ids[0, 0] == 2  # BOS, as the tokenizer adds it
        assert torch.equal(llama.model.to_tokens("so we go"), ids)
        assert torch.equal(llama.model("so we go"), llama.model(ids))
        assert torch.equal(
            llama.model.run_with_cache("so we go", "hook_embed")[1]["embed"], llama.hf.model.embed_tokens(ids)
        )
        assert torch.equal(
            llama.model(["so we go", "we so go"]), llama.model(llama.model.to_tokens(["so we go", "we so go"]))
        )
        assert "".join(llama.model.to_str_tokens("so we go")) == "</s>so we go"

    def test_text_and_bos(self, llama: Case) -> None:
        plain = llama.model.tokenizer.encode("go", add_special_tokens=False)
        assert llama.model.to_tokens("go", prepend_bos=False).tolist() == [plain]
        assert llama.model.to_tokens("go", prepend_bos=True).tolist() == [[2, *plain]]
        without = load_model(llama.hf, tokenizer=bpe_tokenizer(bos=False))
        assert without.to_tokens("go").tolist() == [plain]
        with pytest.raises(InputError, match="no BOS token"):
            without.to_tokens("go", prepend_bos=True)

    def test_texts_that_do_not_fit(self, llama: Case) -> None:
        with pytest.raises(InputError, match="equally many tokens"):
            llama.model.to_tokens(["so", "so we go"])
        with pytest.raises(InputError, match="at least one"):
            llama.model.to_tokens("", prepend_bos=False)
        with pytest.raises(InputError, match="loaded without a tokenizer"):
            load_model(llama.hf)("so we go")
        with pytest.raises(InputError, match="expected one sequence"):
            llama.model.to_str_tokens(llama.tokens)


class TestOneAtATime:
    def test_a_hook_that_runs_its_own_model_is_told_so(self, llama: Case) -> None:
        runs = [
            lambda: llama.model.run_with_cache(llama.tokens),
            lambda: llama.model(llama.tokens),
            lambda: llama.model.run_until_last(llama.tokens, [("hook_embed", lambda v, hook: None)]),
            lambda: load_model(llama.hf),
        ]
        for again in runs:
            with pytest.raises(InputError, match="is running already"):
                llama.model.run_with_hooks(
                    llama.tokens, [("blocks.1.attn.hook_z", lambda v, hook, again=again: again())]
                )
            assert torch.equal(llama.model(llama.tokens), llama.hf(llama.tokens).logits)

    def test_a_hook_may_run_another_model(self, llama: Case) -> None:
        other = opened("gpt2")

        def from_there(value: Tensor, hook: Hook) -> Tensor:
            return other.model.run_with_cache(llama.tokens)[1][hook.name]

        z = other.model.run_with_cache(llama.tokens)[1]["z", 1]
        actual = llama.model.run_with_hooks(llama.tokens, [("blocks.1.attn.hook_z", from_there)])
        assert torch.equal(
            actual, llama.model.run_with_hooks(llama.tokens, [("blocks.1.attn.hook_z", lambda v, hook: z)])
        )

    def test_inside_an_nnsight_trace(self, llama: Case) -> None:
        with pytest.raises(InputError, match="is running already"), llama.model.nnsight.trace(llama.tokens):
            llama.model.run_with_cache(llama.tokens)
        close(llama.model.run_with_cache(llama.tokens)[0], llama.hf(llama.tokens).logits)

    def test_after_an_nnsight_trace(self, llama: Case) -> None:
        with llama.model.nnsight.trace(llama.tokens):
            out = llama.model.nnsight.model.layers[1].output.save()
        close(out, llama.model.run_with_cache(llama.tokens)[1]["resid_post", 1])

    def test_threads_wait_for_one_another(self, llama: Case) -> None:
        batches = [tokens_of(2, 20, seed) for seed in range(4)]
        expected = [llama.model.run_with_cache(batch, "blocks.1.attn.hook_z")[1]["z", 1] for batch in batches]
        wrong: list[object] = []

        def work(number: int) -> None:
            for _ in range(10):
                try:
                    _, cached = llama.model.run_with_cache(batches[number], "blocks.1.attn.hook_z")
                    plain = llama.model(batches[number])
                    if not torch.equal(cached["z", 1], expected[number]) or len(plain) != 2:
                        wrong.append(number)
                except Exception as error:
                    wrong.append(error)

        threads = [Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestUntilTheLastHook:
    @pytest.mark.parametrize("name", MAKERS)
    def test_nothing_after_it_runs(self, name: str) -> None:
        hf, tokens, after = MAKERS[name](), tokens_of(2, LENGTH), []
        raw_hooks.block(hf, 2).register_forward_hook(lambda *_: after.append(2))
        model = load_model(hf)
        after.clear()
        seen: dict[str, Tensor] = {}
        returned = model.run_until_last(tokens, [("blocks.1.attn.hook_z", lambda v, hook: seen.update({hook.name: v}))])
        assert returned is None
        assert after == []
        close(seen["blocks.1.attn.hook_z"], raw_hooks.value(hf, tokens, 1, "attn.hook_z"))
        close(model(tokens), hf(tokens).logits)
        assert after

    def test_no_gradients(self, llama: Case) -> None:
        seen: list[bool] = []
        llama.hf.requires_grad_(True)
        try:
            llama.model.run_until_last(
                llama.tokens, [("blocks.1.attn.hook_z", lambda v, hook: seen.append(v.requires_grad))]
            )
        finally:
            llama.hf.requires_grad_(False)
        assert seen == [False]

    def test_masks_hold_there_too(self, llama: Case) -> None:
        seen: list[Tensor] = []
        with masked(llama.model, heads=[(1, 2)]):
            llama.model.run_until_last(llama.tokens, [("blocks.1.attn.hook_z", lambda v, hook: seen.append(v))])
        assert not seen[0][:, :, 2].any()


class TestSurroundings:
    """What a notebook may have done to the model or to torch before."""

    def test_autocast(self, llama: Case) -> None:
        """Numbers are in the format of the weights, which provenance records."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, cached = llama.model.run_with_cache(llama.tokens)
        close(logits, llama.hf(llama.tokens).logits)
        assert cached["z", 1].dtype == torch.float32

    def test_another_default_dtype(self, llama: Case) -> None:
        torch.set_default_dtype(torch.float64)
        try:
            logits, cached = llama.model.run_with_cache(llama.tokens)
        finally:
            torch.set_default_dtype(torch.float32)
        assert {tensor.dtype for tensor in [logits, *cached.values()]} == {torch.float32}
        close(logits, llama.hf(llama.tokens).logits)

    def test_deterministic_algorithms(self, llama: Case) -> None:
        torch.use_deterministic_algorithms(True)
        try:
            close(llama.model.run_with_cache(llama.tokens)[0], llama.hf(llama.tokens).logits)
        finally:
            torch.use_deterministic_algorithms(False)

    def test_more_outputs(self) -> None:
        hf = MAKERS["llama"]()
        hf.set_attn_implementation("eager")
        hf.config.output_attentions = hf.config.output_hidden_states = True
        close(load_model(hf).run_with_cache(tokens_of(1, 5))[0], hf(tokens_of(1, 5)).logits)

    def test_a_larger_vocabulary(self) -> None:
        hf = MAKERS["llama"]()
        hf.resize_token_embeddings(VOCAB + 20)
        model = load_model(hf)
        assert model.sizes.vocab == VOCAB + 20
        assert model(torch.tensor([[VOCAB + 19]])).shape == (1, 1, VOCAB + 20)

    def test_weights_cast_after_loading(self) -> None:
        model = load_model(MAKERS["gemma3"]())
        model.hf.to(torch.bfloat16)
        assert model.dtype == model.run_with_cache(tokens_of(1, 5))[0].dtype == torch.bfloat16

    def test_a_module_put_in_place_of_another(self) -> None:
        """nnsight still watches the old one: the error says which hook waits in vain."""
        model = load_model(MAKERS["llama"]())
        model.hf.model.layers[0].self_attn.q_proj = nn.Linear(32, 32, bias=False)
        with pytest.raises(InputError, match=r"no value for blocks\.0\.attn\.hook_q: .*does not reach .*q_proj"):
            model.run_with_cache(tokens_of(1, 5))
        assert load_model(model.hf).run_with_cache(tokens_of(1, 5))[0].shape == (1, 5, VOCAB)

    def test_generation_goes_on_as_before(self, llama: Case) -> None:
        expected = MAKERS["llama"]().generate(llama.tokens, max_new_tokens=4, do_sample=False)
        assert torch.equal(llama.model.hf.generate(llama.tokens, max_new_tokens=4, do_sample=False), expected)


def test_training_mode_is_the_callers_business() -> None:
    """Hooks see what the model computes; attention with dropout cannot be taken over, and is refused."""
    hf = build(GPT2Config(**SIZES, n_inner=48, attn_pdrop=0.5, resid_pdrop=0.0, embd_pdrop=0.0), 0)
    model = load_model(hf)
    hf.train()
    with pytest.raises(InputError, match=r"dropout=0\.5"):
        model.run_with_cache(tokens_of(1, 5), "blocks.0.attn.hook_pattern")
    hf.eval()
    close(model.run_with_cache(tokens_of(1, 5))[0], hf(tokens_of(1, 5)).logits)
