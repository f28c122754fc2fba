"""Removing parts with `masked` equals putting zeros in by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from reference import raw_hooks
from reference.models import BUILDERS, VOCAB
from torch import Tensor
from transformers import PreTrainedModel

from headcount.results import InputError
from headcount.tracing import Model, load_model, masked, provenance

TOKENS = torch.randint(VOCAB, (2, 45), generator=torch.Generator().manual_seed(3))
FFN_MODULES = {"opt": "fc2", "gemma3_text": "post_feedforward_layernorm"}


@cache
def opened(name: str) -> Model:
    hf = BUILDERS[name]()
    hf.requires_grad_(False)
    return load_model(hf)


@pytest.fixture(params=BUILDERS)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    yield opened(request.param)
    assert opened(request.param).removed is None


@pytest.fixture
def llama() -> Model:
    return opened("llama")


def random_masks(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 4, generator=generator) < 0.4, torch.rand(3, generator=generator) < 0.4


@torch.no_grad()
def by_hand(hf: PreTrainedModel, heads: Tensor, ffns: Tensor) -> Tensor:
    """Zeros for a head's share of what the output projection gets, and for what a feed-forward network adds."""
    handles = []
    for layer in range(3):
        block, here = raw_hooks.block(hf, layer), raw_hooks.layout(hf)
        d_head = block.get_submodule(here.output).weight.numel() // 32 // 4

        def without(module, args, layer=layer, d_head=d_head):
            z = args[0].clone()
            for head in range(4):
                if heads[layer, head]:
                    z[..., head * d_head : (head + 1) * d_head] = 0
            return (z,)

        handles.append(block.get_submodule(here.output).register_forward_pre_hook(without))
        if ffns[layer]:
            ffn = block.get_submodule(FFN_MODULES.get(hf.config.model_type, "mlp"))
            handles.append(ffn.register_forward_hook(lambda module, args, output: torch.zeros_like(output)))
    logits = hf(TOKENS, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return logits


def close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


NO_HEADS, NO_FFNS = torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)


class TestEffect:
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_random_masks(self, model: Model, attention: str) -> None:
        before = model.hf.config._attn_implementation
        model.hf.set_attn_implementation(attention)
        try:
            plain = model(TOKENS)
            for seed in range(4):
                heads, ffns = random_masks(seed)
                with masked(model, heads=heads, ffns=ffns):
                    actual = model(TOKENS)
                close(actual, by_hand(model.hf, heads, ffns))
                assert (actual - plain).abs().max() > 0.01
                assert torch.equal(model(TOKENS), plain)
        finally:
            model.hf.set_attn_implementation(before)

    def test_each_head_and_each_ffn(self, model: Model) -> None:
        for layer in range(3):
            for head in range(4):
                only = NO_HEADS.clone()
                only[layer, head] = True
                with masked(model, heads=[(layer, head)]):
                    close(model(TOKENS), by_hand(model.hf, only, NO_FFNS))
            with masked(model, ffns=[layer]):
                close(model(TOKENS), by_hand(model.hf, NO_HEADS, torch.arange(3) == layer))

    def test_whole_layers_and_everything(self, model: Model) -> None:
        layer = NO_HEADS.clone()
        layer[1] = True
        for heads, ffns in ((layer, NO_FFNS), (~NO_HEADS, NO_FFNS), (NO_HEADS, ~NO_FFNS), (~NO_HEADS, ~NO_FFNS)):
            with masked(model, heads=heads, ffns=ffns):
                close(model(TOKENS), by_hand(model.hf, heads, ffns))

    def test_nothing_removed(self, model: Model) -> None:
        for arguments in ({}, {"heads": NO_HEADS, "ffns": NO_FFNS}, {"heads": [], "ffns": []}):
            with masked(model, **arguments):
                assert torch.equal(model(TOKENS), model.hf(TOKENS).logits)

    def test_the_output_bias_stays(self) -> None:
        model = opened("opt")
        with masked(model, heads=[(1, head) for head in range(4)]):
            _, cached = model.run_with_cache(TOKENS)
        bias = model.hf.model.decoder.layers[1].self_attn.out_proj.bias
        close(cached["attn_out", 1], bias.expand(2, 45, -1))


class TestForms:
    @pytest.mark.parametrize(
        "heads",
        [
            [(0, 1), (2, 3)],
            ((0, 1), (2, 3)),
            {(0, 1), (2, 3)},
            [[2, 3], [0, 1]],
            [(2, 3), (0, 1), (0, 1)],
            torch.tensor([[0, 1], [2, 3]]),
            np.array([[0, 1], [2, 3]]),
            (pair for pair in [(0, 1), (2, 3)]),
            [(np.int64(0), np.int64(1)), (2, 3)],
            [[False, True, False, False], [False] * 4, [False, False, False, True]],
            torch.tensor([[0, 1, 0, 0], [0] * 4, [0, 0, 0, 1]]).bool(),
            torch.tensor([[0, 1, 0, 0], [0] * 4, [0, 0, 0, 1]]).bool().numpy(),
        ],
    )
    def test_heads(self, llama: Model, heads: Any) -> None:
        with masked(llama, heads=heads):
            assert llama.removed.heads.nonzero().tolist() == [[0, 1], [2, 3]]
            assert not llama.removed.ffns.any()

    @pytest.mark.parametrize(
        "ffns",
        [[0, 2], (2, 0), {0, 2}, torch.tensor([2, 0]), range(0, 3, 2), np.array([0, 2]), [True, False, True]],
    )
    def test_ffns(self, llama: Model, ffns: Any) -> None:
        for given in (ffns, torch.tensor([True, False, True])):
            with masked(llama, ffns=given):
                assert llama.removed.ffns.tolist() == [True, False, True]
                assert not llama.removed.heads.any()

    def test_the_default_device_makes_no_difference(self, llama: Model) -> None:
        with torch.device("meta"), masked(llama, heads=[(0, 1)], ffns=[2]), masked(llama, heads=NO_HEADS, ffns=[0]):
            assert llama.removed.heads.nonzero().tolist() == [[0, 1]]
            assert llama.removed.ffns.tolist() == [True, False, True]

    def test_the_masks_given_are_copied(self, llama: Model) -> None:
        heads = NO_HEADS.clone()
        with masked(llama, heads=heads):
            heads[0, 0] = True
            assert not llama.removed.heads.any()

    @pytest.mark.parametrize(
        "heads",
        [
            torch.zeros(4, 3, dtype=torch.bool),
            torch.zeros(12, dtype=torch.bool),
            torch.zeros(1, 3, 4, dtype=torch.bool),
            torch.tensor(True),
            torch.zeros(3, 4),
            torch.zeros(3, 4, dtype=torch.long),
            [0, 1],
            (0, 1),
            [(0, 1, 2)],
            [(0, 1), (2,)],
            [(0.0, 1.0)],
            [(True, False)],
            "all",
            3,
            [None],
            {"heads": 1},
        ],
    )
    def test_heads_of_another_form(self, llama: Model, heads: Any) -> None:
        self.fails(llama, r"heads must be a boolean mask of shape \[3, 4\] or the parts to remove", heads=heads)

    @pytest.mark.parametrize(
        "ffns", [torch.zeros(4, dtype=torch.bool), torch.zeros(3), [(0, 1)], "all", 3, [None], [1.5], [[0], [1, 2]]]
    )
    def test_ffns_of_another_form(self, llama: Model, ffns: Any) -> None:
        self.fails(llama, r"ffns must be a boolean mask of shape \[3\] or the parts to remove", ffns=ffns)

    @pytest.mark.parametrize("heads", [[(3, 0)], [(0, 4)], [(-1, 0)], [(0, -1)], [(0, 0), (9, 9)]])
    def test_heads_that_do_not_exist(self, llama: Model, heads: Any) -> None:
        self.fails(llama, r"heads to remove must lie within \[3, 4\], counted from 0, not \[", heads=heads)

    @pytest.mark.parametrize("ffns", [[3], [-1], range(4)])
    def test_ffns_that_do_not_exist(self, llama: Model, ffns: Any) -> None:
        self.fails(llama, r"ffns to remove must lie within \[3\], counted from 0, not \[", ffns=ffns)

    @staticmethod
    def fails(model: Model, message: str, **arguments: Any) -> None:
        with pytest.raises(InputError, match=message) as error, masked(model, **arguments):
            pass
        assert "\n" not in str(error.value)
        assert model.removed is None
        assert torch.equal(model(TOKENS), model.hf(TOKENS).logits)


class TestBlocks:
    def test_they_nest(self, llama: Model) -> None:
        first, second = random_masks(5), random_masks(6)
        with masked(llama, *first):
            with masked(llama, *second) as inner:
                assert inner is llama
                close(llama(TOKENS), by_hand(llama.hf, first[0] | second[0], first[1] | second[1]))
            close(llama(TOKENS), by_hand(llama.hf, *first))
            with masked(llama):
                close(llama(TOKENS), by_hand(llama.hf, *first))
        assert llama.removed is None

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_error_ends_them(self, llama: Model, error: type[BaseException]) -> None:
        plain = llama(TOKENS)
        with pytest.raises(error), masked(llama, heads=[(0, 0)]), masked(llama, ffns=[1]):
            raise error
        assert llama.removed is None
        assert torch.equal(llama(TOKENS), plain)

    def test_an_error_in_a_hook_ends_them(self, llama: Model) -> None:
        def fail(value: Tensor, hook: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), masked(llama, heads=[(0, 0)]):
            llama.run_with_hooks(TOKENS, [("blocks.2.hook_resid_post", fail)])
        assert llama.removed is None

    def test_a_bad_mask_inside_leaves_the_outer_one(self, llama: Model) -> None:
        with masked(llama, heads=[(0, 0)]):
            with pytest.raises(InputError), masked(llama, heads=[(7, 7)]):
                pass
            assert llama.removed.heads.sum() == 1

    def test_two_models_do_not_share_them(self) -> None:
        hf = BUILDERS["llama"]()
        one, other = load_model(hf), load_model(hf)
        with masked(one, heads=[(0, 0)]):
            assert torch.equal(other(TOKENS), hf(TOKENS).logits)
            assert not torch.equal(one(TOKENS), other(TOKENS))

    def test_generators_end_where_they_are_closed(self, llama: Model) -> None:
        @contextmanager
        def without_first() -> Iterator[None]:
            with masked(llama, heads=[(0, 0)]):
                yield

        with without_first():
            assert llama.removed is not None
        assert llama.removed is None


class TestWhatHooksSee:
    def test_zeros(self, model: Model) -> None:
        heads, ffns = random_masks(7)
        with masked(model, heads=heads, ffns=ffns):
            logits, cached = model.run_with_cache(TOKENS)
            close(logits, model(TOKENS))
        for layer in range(3):
            gone = heads[layer]
            assert not cached["z", layer][:, :, gone].any()
            assert not cached["result", layer][:, :, gone].any()
            assert cached["z", layer][:, :, ~gone].any() or gone.all()
            assert bool(cached["mlp_out", layer].any()) is not bool(ffns[layer])

    def test_an_edit_comes_after_the_mask(self, model: Model) -> None:
        """A removed head can be given a value; hooks that are called later see it."""
        with masked(model, heads=[(1, 2)], ffns=[1]):
            hooks = [
                ("blocks.1.attn.hook_z", lambda z, hook: z + 1),
                ("blocks.1.hook_mlp_out", lambda value, hook: value + 1),
            ]
            actual = model.run_with_hooks(TOKENS, hooks)

        def without_head(z: Tensor) -> Tensor:
            z = z.clone()
            z[:, :, 2] = 0
            return z + 1

        edits = [("blocks.1.attn.hook_z", without_head), ("blocks.1.hook_mlp_out", torch.ones_like)]
        close(actual, raw_hooks.run_edited(model.hf, TOKENS, edits))

    def test_gradients(self, model: Model) -> None:
        """They are zero before what is removed, and as ever elsewhere."""
        recorded: dict[str, Tensor] = {}

        def record(value: Tensor, hook: Any) -> None:
            recorded[hook.name] = value.requires_grad_(True)

        names = ["blocks.1.attn.hook_v", "blocks.1.mlp.hook_post"]
        with masked(model, heads=[(1, head) for head in range(4)], ffns=[1]):
            logits = model.run_with_hooks(TOKENS, [(name, record) for name in names])
        gradients = torch.autograd.grad(logits.sum(), list(recorded.values()), allow_unused=True)
        assert all(gradient is None or not gradient.any() for gradient in gradients)

    def test_provenance(self, llama: Model) -> None:
        with masked(llama, heads=[(2, 1)], ffns=[0]):
            inside = provenance(llama)
        assert (inside["removed_heads"], inside["removed_ffns"]) == ([[2, 1]], [0])
        assert (provenance(llama)["removed_heads"], provenance(llama)["removed_ffns"]) == ([], [])
