"""Heads and feed-forward networks taken out of the weights: the same numbers as masking, from fewer parameters."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from reference import raw_hooks
from reference.models import BUILDERS, GROUPED, SIZES, VOCAB, build, word_tokenizer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedModel,
    Qwen3Config,
)

from headcount.results import InputError
from headcount.tracing import Model, load_model, masked, provenance, pruned, randomised, removed_parameters, save_pruned
from headcount.tracing.weights import output_heads, value_heads

TOKENS = torch.randint(VOCAB, (2, 45), generator=torch.Generator().manual_seed(3))
NO_HEADS, NO_FFNS = torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)


def llama_large_groups() -> PreTrainedModel:
    """Two groups of four query heads."""
    return build(LlamaConfig(**GROUPED | {"num_attention_heads": 8}), 0)


def neox_in_sequence() -> PreTrainedModel:
    return build(GPTNeoXConfig(**SIZES, intermediate_size=48, use_parallel_residual=False), 0)


def qwen3() -> PreTrainedModel:
    return build(Qwen3Config(**GROUPED, head_dim=12), 0)


def gemma() -> PreTrainedModel:
    return build(GemmaConfig(**GROUPED, head_dim=12), 0)


def gemma2() -> PreTrainedModel:
    """A cap on attention scores, which only eager attention knows."""
    hf = build(Gemma2Config(**GROUPED, head_dim=12, query_pre_attn_scalar=9, sliding_window=30), 0)
    hf.set_attn_implementation("eager")
    return hf


def opt_without_biases() -> PreTrainedModel:
    return build(OPTConfig(**SIZES, ffn_dim=48, enable_bias=False, word_embed_proj_dim=32), 0)


MORE = (llama_large_groups, neox_in_sequence, qwen3, gemma, gemma2, opt_without_biases)
ALL = BUILDERS | {builder.__name__: builder for builder in MORE}


@cache
def opened(name: str) -> Model:
    hf = ALL[name]()
    hf.requires_grad_(False)
    return load_model(hf, tokenizer=word_tokenizer())


@pytest.fixture(params=ALL)
def model(request: pytest.FixtureRequest) -> Model:
    return opened(request.param)


@pytest.fixture
def llama() -> Model:
    return opened("llama")


def random_masks(seed: int, model: Model | None = None) -> tuple[Tensor, Tensor]:
    """Masks of about half of the heads and FFNs; some layers lose nothing, some all."""
    generator = torch.Generator().manual_seed(seed)
    n_heads = 4 if model is None else model.sizes.n_heads
    return torch.rand(3, n_heads, generator=generator) < 0.5, torch.rand(3, generator=generator) < 0.4


def cases(model: Model) -> dict[str, tuple[Tensor, Tensor]]:
    none = torch.zeros(3, model.sizes.n_heads, dtype=torch.bool)
    layer, last = none.clone(), none.clone()
    layer[0], last[2, 1:] = True, True
    return {
        "nothing": (none, NO_FFNS),
        "random": random_masks(0, model),
        "random too": random_masks(1, model),
        "one layer's heads": (layer, NO_FFNS),
        "all but one of a layer": (last, NO_FFNS),
        "all heads": (~none, NO_FFNS),
        "all FFNs": (none, ~NO_FFNS),
        "everything": (~none, ~NO_FFNS),
    }


@torch.no_grad()
def zeroed(hf: PreTrainedModel, heads: Tensor, ffns: Tensor) -> PreTrainedModel:
    """A copy in whose weights a head's part of W_O, and what leads out of a FFN, is zero."""
    hf = copy.deepcopy(hf)
    for layer in range(3):
        block, here = raw_hooks.block(hf, layer), raw_hooks.layout(hf)
        output = block.get_submodule(here.output)
        rows = output.weight.T if isinstance(output, torch.nn.Linear) else output.weight
        rows.unflatten(0, (heads.shape[1], -1))[heads[layer]] = 0
        if ffns[layer]:
            for parameter in block.get_submodule(here.post).parameters():
                parameter.zero_()
    return hf


def n_parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.hf.parameters())


def close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


class TestLogits:
    def test_equal_those_of_masking_and_of_zeros_in_the_weights(self, model: Model) -> None:
        plain, weights = model(TOKENS), {name: value.clone() for name, value in model.hf.state_dict().items()}
        for heads, ffns in cases(model).values():
            small = pruned(model, heads, ffns)
            with masked(model, heads, ffns):
                expected = model(TOKENS)
            close(small(TOKENS), expected)
            assert torch.equal(pruned(model, heads, ffns, in_each_pass=True)(TOKENS), small(TOKENS))
            close(small(TOKENS), zeroed(model.hf, heads, ffns)(TOKENS).logits)
            assert torch.equal(small(TOKENS), plain) is not bool(heads.any() or ffns.any())
            counts = removed_parameters(model, heads, ffns)
            assert (counts.total, counts.removed) == (n_parameters(model), n_parameters(model) - n_parameters(small))
        assert torch.equal(model(TOKENS), plain)
        assert all(torch.equal(value, weights[name]) for name, value in model.hf.state_dict().items())

    def test_at_places_with_positions_and_a_mask(self, model: Model) -> None:
        """A context padded on the left, and two branches that share one."""
        heads, ffns = random_masks(2, model)
        positions = (torch.arange(45) - torch.tensor([[5], [0]])).clamp(min=0)
        visible = torch.ones(45, 45, dtype=torch.bool).tril().repeat(2, 1, 1)
        visible[0, 5:, :5] = False
        visible[1, 30:, 20:30] = False
        arguments = (TOKENS, torch.tensor([0, 0, 1, 1]), torch.tensor([5, 44, 29, 44]))
        places: dict[str, Any] = {"positions": positions, "visible": visible}
        small = pruned(model, heads, ffns)
        for given in ({}, places):
            with masked(model, heads, ffns):
                (expected,) = model.run_passes([model.pass_at(*arguments, **given)])
            close(small.run_passes([small.pass_at(*arguments, **given)])[0], expected)

    def test_with_a_padding_mask_of_transformers(self, model: Model) -> None:
        heads, ffns = random_masks(4, model)
        mask = torch.ones_like(TOKENS)
        mask[0, :7] = 0
        actual = pruned(model, heads, ffns).hf(TOKENS, attention_mask=mask).logits
        expected = zeroed(model.hf, heads, ffns)(TOKENS, attention_mask=mask).logits
        close(actual[0, 7:], expected[0, 7:])
        close(actual[1], expected[1])

    def test_generation_with_a_cache(self, model: Model) -> None:
        """The first layer, whose keys tell the cache how far it is, has no heads."""
        heads, ffns = random_masks(5, model)
        heads[0] = True
        small, start = pruned(model, heads, ffns), TOKENS[:1, :12]
        options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 1}
        actual = small.hf.generate(start, attention_mask=torch.ones_like(start), **options)
        for end in range(12, 20):
            logits = small(actual[:, :end])[0, -1]
            assert logits[actual[0, end]] >= logits.max() - 1e-4

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", ["opt", "llama", "gemma3"])
    def test_attention_implementations(self, name: str, attention: str) -> None:
        hf = BUILDERS[name]()
        hf.set_attn_implementation(attention)
        model = load_model(hf)
        small = pruned(model, *random_masks(0))
        assert small.hf.config._attn_implementation == attention
        with masked(model, *random_masks(0)):
            close(small(TOKENS), model(TOKENS))

    @pytest.mark.parametrize("name", ["opt", "llama_large_groups"])
    def test_half_precision(self, name: str) -> None:
        model = load_model(ALL[name]().to(torch.bfloat16))
        masks = random_masks(0, model)
        small = pruned(model, *masks)
        with masked(model, *masks):
            assert (small(TOKENS) - model(TOKENS)).abs().max() < 0.1 * model(TOKENS).abs().max()
        assert small.dtype == torch.bfloat16

    def test_parts_masked_at_present_go_too(self, llama: Model) -> None:
        with masked(llama, heads=[(0, 0)], ffns=[1]):
            small, counts = pruned(llama, heads=[(2, 3)]), removed_parameters(llama, heads=[(2, 3)])
        assert small.pruned.heads.nonzero().tolist() == [[0, 0], [2, 3]]
        assert small.pruned.ffns.tolist() == [False, True, False]
        assert counts.removed == n_parameters(llama) - n_parameters(small)


class TestTheSmallerModel:
    def test_shares_what_is_not_cut(self, model: Model) -> None:
        small = pruned(model, heads=[(1, 0)])
        whole, left = model.hf.state_dict(), small.hf.state_dict()
        cut = {name for name in left if left[name].data_ptr() != whole[name].data_ptr()}
        assert cut
        assert all(model.family.attention in name and ".1." in name for name in cut)

    def test_the_original_wants_its_gradients_still(self) -> None:
        hf = BUILDERS["llama"]()
        small = pruned(load_model(hf), *random_masks(0))
        assert all(parameter.requires_grad for parameter in hf.parameters())
        assert not any(parameter.requires_grad for parameter in small.hf.parameters())

    def test_groups_of_query_heads(self) -> None:
        """Keys and values stay as long as one head of their group does."""
        model = opened("llama_large_groups")
        uneven = pruned(model, heads=[(0, 0), (0, 5), (0, 6), (0, 7)]).hf.model.layers[0].self_attn
        even = pruned(model, heads=[(0, 0), (0, 1), (0, 5), (0, 6)]).hf.model.layers[0].self_attn
        one = pruned(model, heads=[(0, 0), (0, 1), (0, 2), (0, 3), (0, 6)]).hf.model.layers[0].self_attn
        shapes = [tuple(part.k_proj.weight.shape) for part in (uneven, even, one)]
        assert shapes == [(8, 32), (8, 32), (4, 32)]
        assert [part.num_key_value_groups for part in (uneven, even, one)] == [1, 2, 3]

    def test_hooks_of_the_residual_stream(self, model: Model) -> None:
        heads, ffns = random_masks(1, model)
        small = pruned(model, heads, ffns)
        names = ["hook_embed", *(f"blocks.{layer}.{name}" for layer in range(3) for name in RESIDUAL)]
        with masked(model, heads, ffns):
            _, expected = model.run_with_cache(TOKENS, names)
            edited = model.run_with_hooks(TOKENS, [("blocks.1.hook_resid_post", lambda x, hook: 2 * x)])
        _, actual = small.run_with_cache(TOKENS, names)
        for name in names:
            close(actual[name], expected[name])
        close(small.run_with_hooks(TOKENS, [("blocks.1.hook_resid_post", lambda x, hook: 2 * x)]), edited)
        seen: list[Tensor] = []
        small.run_until_last(TOKENS, [("blocks.1.hook_attn_out", lambda x, hook: seen.append(x.clone()))])
        close(seen[0], expected["blocks.1.hook_attn_out"])

    def test_an_edit_where_a_part_was(self, model: Model) -> None:
        small = pruned(model, heads=[(1, head) for head in range(model.sizes.n_heads)], ffns=[1])
        hooks = [(f"blocks.1.{name}", add_in_place) for name in ("hook_attn_out", "hook_mlp_out")]
        with masked(model, heads=[(1, head) for head in range(model.sizes.n_heads)], ffns=[1]):
            expected = model.run_with_hooks(TOKENS, hooks)
        close(small.run_with_hooks(TOKENS, hooks), expected)
        close(small(TOKENS), small(TOKENS))

    def test_whole_layers_keep_all_hooks(self, llama: Model) -> None:
        small = pruned(llama, heads=[(0, 1)], ffns=[0])
        with masked(llama, heads=[(0, 1)], ffns=[0]):
            _, expected = llama.run_with_cache(TOKENS)
        _, actual = small.run_with_cache(TOKENS)
        assert all(name in actual for name in expected if not name.startswith("blocks.0."))
        for name in actual:
            close(actual[name].nan_to_num(), expected[name].nan_to_num())

    @pytest.mark.parametrize("hook", ["q", "k", "v", "rot_q", "pattern", "z", "result"])
    def test_hooks_with_a_head_axis(self, llama: Model, hook: str) -> None:
        small = pruned(llama, heads=[(1, 0)])
        message = rf"blocks.1.attn.hook_{hook} is not there: layer 1 was pruned to 3 of 4 heads; use masked"
        with pytest.raises(InputError, match=message):
            small.run_with_cache(TOKENS, f"blocks.1.attn.hook_{hook}")

    @pytest.mark.parametrize("hook", ["mlp.hook_pre", "mlp.hook_post", "ln2.hook_normalized"])
    def test_hooks_inside_a_network(self, llama: Model, hook: str) -> None:
        small = pruned(llama, ffns=[2])
        with pytest.raises(InputError, match=f"blocks.2.{hook} is not there: the feed-forward network of layer 2 was"):
            small.run_with_cache(TOKENS, f"blocks.2.{hook}")

    @pytest.mark.parametrize("function", [output_heads, value_heads])
    def test_weights_by_head(self, llama: Model, function: Any) -> None:
        small = pruned(llama, heads=[(1, 0)])
        with pytest.raises(InputError, match="heads of layer 1 were pruned: read the weights of the whole model"):
            function(small, 1)
        assert function(small, 0) is not None

    def test_nothing_is_removed_twice(self, llama: Model) -> None:
        small = pruned(llama, heads=[(0, 0)])
        message = "is structurally pruned already: remove all parts at once from the whole model"
        with pytest.raises(InputError, match=message):
            pruned(small, ffns=[0])
        with pytest.raises(InputError, match=message):
            removed_parameters(small, ffns=[0])
        with pytest.raises(InputError, match=message), masked(small, ffns=[0]):
            pass
        with pytest.raises(InputError, match="is structurally pruned: draw random weights for the whole model"):
            randomised(small)

    def test_where_it_comes_from(self, llama: Model) -> None:
        small, other = pruned(llama, heads=[(2, 1)], ffns=[0]), pruned(llama, heads=[(2, 0)], ffns=[0])
        record = provenance(small)
        assert (record["removed_heads"], record["removed_ffns"]) == ([[2, 1]], [0])
        assert record["structurally_pruned"] is True
        assert provenance(llama)["structurally_pruned"] is False
        assert len({llama.fingerprint(), small.fingerprint(), other.fingerprint()}) == 3
        assert "pruned of 1 heads and 1 FFNs" in repr(small)

    def test_copies(self, llama: Model) -> None:
        small = pruned(llama, *random_masks(0))
        for again in (copy.deepcopy(small), load_model(small.hf)):
            assert torch.equal(again(TOKENS), small(TOKENS))
            assert torch.equal(again.pruned.heads, small.pruned.heads)

    def test_on_meta(self) -> None:
        with torch.device("meta"):
            hf = AutoModelForCausalLM.from_config(LlamaConfig(**GROUPED))
        model = load_model(hf)
        small = pruned(model, *random_masks(0))
        assert small(TOKENS).shape == (2, 45, VOCAB)
        assert removed_parameters(model, *random_masks(0)).removed == n_parameters(model) - n_parameters(small)

    def test_a_model_on_several_devices(self) -> None:
        """Two names of one device are two to accelerate, which then leads activations from one to the other."""
        model = load_model(BUILDERS["llama"]())
        expected = pruned(model, *random_masks(0))(TOKENS)
        parts = [name for name, _ in model.hf.model.named_children()]
        model.hf.hf_device_map = {f"model.{part}": torch.device("cpu") for part in parts}
        model.hf.hf_device_map["lm_head"] = torch.device("cpu:0")
        small = pruned(model, *random_masks(0))
        assert hasattr(small.hf.model.layers, "_hf_hook")
        close(small(TOKENS), expected)


RESIDUAL = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


def add_in_place(value: Tensor, hook: Any) -> None:
    value.add_(1)


class TestCounts:
    def test_opt_66b(self) -> None:
        """OPT-66B, as its configuration says: 64 x 72 heads, of which 70 % go, and a fifth of the FFNs."""
        config = OPTConfig(
            hidden_size=9216, num_attention_heads=72, num_hidden_layers=64, ffn_dim=36864, word_embed_proj_dim=9216
        )
        with torch.device("meta"):
            model = load_model(AutoModelForCausalLM.from_config(config))
        heads = torch.arange(4608).view(64, 72) < 4608 * 70 // 100
        counts = removed_parameters(model, heads=heads, ffns=range(64 * 20 // 100))
        per_head, per_ffn = 4 * 9216 * 128 + 3 * 128, 2 * 9216 * 36864 + 36864 + 9216 + 2 * 9216
        assert (counts.heads, counts.ffns) == (3225 * per_head, 12 * per_ffn) == (15_218_697_600, 8_154_501_120)
        assert counts.total == 65_719_701_504 - (50272 - config.vocab_size) * 9216
        assert counts.share == pytest.approx(counts.removed / counts.total)

    def test_a_norm_after_the_sum_stays(self) -> None:
        before, after = (removed_parameters(opened(name), ffns=[0]).removed for name in ("opt", "opt_350m_style"))
        assert before - after == 2 * 32


class TestFiles:
    def test_round_trip(self, model: Model, tmp_path: Path) -> None:
        small = pruned(model, *random_masks(1, model))
        save_pruned(small, tmp_path / "small")
        again = load_model(tmp_path / "small")
        assert torch.equal(again(TOKENS), small(TOKENS))
        assert (again.name, again.fingerprint()) == (small.name, small.fingerprint())
        assert n_parameters(again) == n_parameters(small)
        assert [path.suffix for path in (tmp_path / "small").iterdir() if path.suffix in (".bin", ".pt")] == []

    def test_transformers_refuses_the_folder(self, model: Model, tmp_path: Path) -> None:
        """It would give random weights to every part whose size has changed."""
        save_pruned(pruned(model, *random_masks(1, model)), tmp_path / "small")
        with pytest.raises(OSError, match=r"no file named (pytorch_)?model\."):
            AutoModelForCausalLM.from_pretrained(tmp_path / "small")

    def test_a_cap_on_scores_is_kept_by_a_whole_model_too(self, tmp_path: Path) -> None:
        hf = gemma2()
        hf.save_pretrained(tmp_path)
        again = load_model(tmp_path, tokenizer=word_tokenizer())
        assert torch.equal(again(TOKENS), load_model(hf)(TOKENS))

    def test_everything_removed(self, llama: Model, tmp_path: Path) -> None:
        small = pruned(llama, ~NO_HEADS, ~NO_FFNS)
        save_pruned(small, tmp_path)  # an empty folder that exists
        assert torch.equal(load_model(tmp_path)(TOKENS), small(TOKENS))

    def test_number_format_and_device(self, llama: Model, tmp_path: Path) -> None:
        save_pruned(pruned(llama, *random_masks(0)), tmp_path)
        again = load_model(str(tmp_path), dtype="bfloat16", device_map="cpu")
        assert {parameter.dtype for parameter in again.hf.parameters()} == {torch.bfloat16}
        assert again.hf.model.rotary_emb.inv_freq.dtype == torch.float32

    def test_the_tokenizer(self, saved: Path, llama: Model) -> None:
        assert load_model(saved).to_tokens("w1 w5").tolist() == llama.to_tokens("w1 w5").tolist()

    def test_a_tokenizer_of_ones_own_or_none(self, tmp_path: Path) -> None:
        model = load_model(BUILDERS["opt"]())
        save_pruned(pruned(model, *random_masks(0)), tmp_path)
        assert load_model(tmp_path).tokenizer is None
        mine = word_tokenizer()
        assert load_model(tmp_path, tokenizer=mine).tokenizer is mine

    def test_a_whole_model_is_not_saved(self, llama: Model, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not structurally pruned: save it with"):
            save_pruned(llama, tmp_path)

    def test_a_full_folder_stays_as_it_is(self, llama: Model, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        small = pruned(llama, heads=[(0, 0)])
        for place in (tmp_path, tmp_path / "thesis.txt"):
            with pytest.raises(InputError, match=r"is not empty|cannot write"):
                save_pruned(small, place)
        assert (tmp_path / "thesis.txt").read_text() == "mine"

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"heads": []}', "null"])
    def test_a_foreign_or_damaged_note(self, saved: Path, text: str) -> None:
        (saved / "headcount.json").write_text(text)
        with pytest.raises(InputError, match=r"headcount.json does not say what was pruned: it is damaged or was not"):
            load_model(saved)

    def test_a_changed_note(self, saved: Path) -> None:
        note = json.loads((saved / "headcount.json").read_text())
        note["fields"]["heads"] = [[0, 1]]
        (saved / "headcount.json").write_text(json.dumps(note))
        with pytest.raises(InputError, match="does not say what was pruned"):
            load_model(saved)

    @pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "shape", "note of another"])
    def test_weights_that_do_not_fit(self, saved: Path, llama: Model, tmp_path: Path, damage: str) -> None:
        file = saved / "block-001.safetensors"
        if damage == "missing":
            file.unlink()
        elif damage == "cut":
            file.write_bytes(file.read_bytes()[:-5])
        elif damage == "foreign":
            safetensors.torch.save_file({"foreign": torch.zeros(2)}, saved / "more.safetensors")
        elif damage == "shape":
            tensors = safetensors.torch.load_file(file)
            tensors["model.layers.1.self_attn.q_proj.weight"] = torch.zeros(32, 32)
            safetensors.torch.save_file(tensors, file)
        else:
            save_pruned(pruned(llama, ffns=[0]), tmp_path / "other")
            (tmp_path / "other/headcount.json").replace(saved / "headcount.json")
        with pytest.raises(InputError, match=r"the pruned model in .* cannot be opened: .*; save it again"):
            load_model(saved)

    @pytest.mark.parametrize(
        "arguments", [{"revision": "main"}, {"device_map": "auto"}, {"device_map": {"a": 0, "b": 1}}]
    )
    def test_arguments_for_whole_models(self, saved: Path, arguments: Any) -> None:
        with pytest.raises(InputError, match="expected no revision, and one device as device_map"):
            load_model(saved, **arguments)


@pytest.fixture
def saved(llama: Model, tmp_path: Path) -> Path:
    save_pruned(pruned(llama, *random_masks(0)), tmp_path / "saved")
    return tmp_path / "saved"


class TestInput:
    @pytest.mark.parametrize("function", [pruned, removed_parameters])
    def test_masks(self, llama: Model, function: Any) -> None:
        with pytest.raises(InputError, match=r"heads must be a boolean mask of shape \[3, 4\]"):
            function(llama, heads=torch.zeros(4, 3, dtype=torch.bool))
        with pytest.raises(InputError, match=r"ffns to remove must lie within \[3\]"):
            function(llama, ffns=[3])

    def test_changed_modules(self) -> None:
        hf = BUILDERS["llama"]()
        hf.model.layers[1].self_attn.q_proj.register_parameter("gain", torch.nn.Parameter(torch.ones(1)))
        with pytest.raises(
            InputError, match=r"1 tensors belong to no part of a LlamaForCausalLM, first model.layers.1"
        ):
            pruned(load_model(hf), heads=[(0, 0)])

    def test_a_configuration_of_other_sizes(self) -> None:
        model = load_model(BUILDERS["llama"]())
        model.hf.config.intermediate_size = 64
        with pytest.raises(InputError, match=r"size mismatch for model.layers"):
            pruned(model, heads=[(0, 0)])

    def test_untied_by_hand(self) -> None:
        hf = BUILDERS["llama_wide_heads"]()
        hf.lm_head.weight = torch.nn.Parameter(2 * hf.lm_head.weight.detach())
        with pytest.raises(InputError, match=r"weight is tied to another tensor in the configuration, but not in the"):
            pruned(load_model(hf), heads=[(0, 0)])


@pytest.fixture
def differing(monkeypatch):
    def differs(*_: object) -> None:
        raise InputError("other logits")

    monkeypatch.setattr("headcount.tracing.loading.hook_check.require", differs)


@pytest.mark.parametrize(("dtype", "refused"), [(torch.float32, True), (torch.bfloat16, False)])
def test_rounding_of_what_is_left_in_half_precision_is_no_reason_to_refuse(dtype, refused, tmp_path, request):
    """Seen on a real model with 80 % of its heads gone: its logits moved by a third in bfloat16, by 1e-5 in float32."""
    small = pruned(load_model(BUILDERS["llama"]().to(dtype)), heads=[(0, 0)])
    save_pruned(small, tmp_path / "small")
    request.getfixturevalue("differing")
    if refused:
        with pytest.raises(InputError, match="other logits"):
            load_model(tmp_path / "small")
    else:
        assert load_model(tmp_path / "small").pruned is not None


def test_a_checked_model_without_some_parts_is_not_checked_again(request):
    """A sweep makes hundreds of them, and the check takes longer than the removal."""
    model = load_model(BUILDERS["llama"]())
    request.getfixturevalue("differing")
    assert pruned(model, heads=[(0, 0)]).pruned is not None
