"""Every hook that TransformerLens has too means what it means there; its known defects are pinned.

A test of `TestDefects` that fails says that upstream has mended something: let the comparison include it then.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from reference import raw_hooks
from reference.bridges import bridge
from reference.models import BUILDERS, VOCAB, bpe_tokenizer
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from headcount.tracing import Model, load_model

TOKENS = torch.randint(VOCAB, (2, 45), generator=torch.Generator().manual_seed(1))
NAMES = [name for name in BUILDERS if name != "opt_350m_style"]  # whose hooks fail in the bridge in part

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Pair(NamedTuple):
    ours: Model
    theirs: Any
    cached: Any
    their_cached: Any


@cache
def pair(name: str) -> Pair:
    hf = BUILDERS[name]()
    ours, theirs = load_model(hf), bridge(hf)
    return Pair(ours, theirs, ours.run_with_cache(TOKENS)[1], theirs.run_with_cache(TOKENS)[1])


@cache
def with_results(name: str) -> Any:
    theirs = bridge(BUILDERS[name]())
    theirs.set_use_attn_result(True)
    return theirs


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Pair:
    return pair(request.param)


def close(actual: Tensor, expected: Tensor, what: str = "") -> None:
    assert actual.shape == expected.shape, what
    assert (actual - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max()), what


def different(name: str, model: Model) -> bool:
    """What is known to be wrong over there, or to have another form."""
    opt = model.family.name == "OPT"
    return "hook_attn_scores" in name or (opt and "ln2.hook_normalized" in name)


def edit(value: Tensor, hook: Any) -> Tensor:
    return 0.7 * value.flip(-1) + 0.1


class TestReading:
    def test_every_hook_that_both_have(self, case: Pair) -> None:
        both = [name for name in case.ours.hooks if name in case.their_cached and not different(name, case.ours)]
        for name in both:
            close(case.cached[name], case.their_cached[name], name)
        compared = {name.split(".", 2)[2] for name in both if name.startswith("blocks.1")} | {
            name for name in both if not name.startswith("blocks")
        }
        in_a_block = {*raw_hooks.block_hooks(case.ours.hf)} - {"attn.hook_result"}
        required = {"hook_embed", "ln_final.hook_normalized"} | in_a_block
        assert required <= compared

    def test_post_norm_opt_as_far_as_it_runs(self) -> None:
        hf = BUILDERS["opt_350m_style"]()
        ours, theirs = load_model(hf), bridge(hf)
        names = [name for name in raw_hooks.block_hooks(hf) if name not in ("attn.hook_result", "hook_resid_mid")]
        names = [f"blocks.{layer}.{name}" for layer in range(3) for name in names]
        cached, their_cached = (model.run_with_cache(TOKENS, names_filter=names)[1] for model in (ours, theirs))
        assert len(cached) == len(names)
        for name in names:
            close(cached[name], their_cached[name], name)

    def test_rotated_queries_and_keys(self) -> None:
        for name in ("llama", "llama_wide_heads", "mistral", "qwen2", "gemma3"):
            for hook in ("blocks.1.attn.hook_rot_q", "blocks.1.attn.hook_rot_k"):
                close(pair(name).cached[hook], pair(name).their_cached[hook], f"{name} {hook}")

    def test_positions(self) -> None:
        for name in ("opt", "gpt2"):
            close(pair(name).cached["hook_pos_embed"], pair(name).their_cached["hook_pos_embed"])

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "opt"])
    def test_scores_where_attention_is_allowed(self, name: str) -> None:
        for layer in range(3):
            ours, theirs = (cached["attn_scores", layer] for cached in (pair(name).cached, pair(name).their_cached))
            allowed = ours > -torch.inf
            close(ours[allowed], theirs[allowed])
            assert (theirs[~allowed] <= torch.finfo(torch.float32).min).all()

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "opt"])
    def test_results(self, name: str) -> None:
        _, theirs = with_results(name).run_with_cache(TOKENS)
        for layer in range(3):
            close(pair(name).cached["result", layer], theirs["result", layer])

    def test_what_a_layer_adds_to_the_residual_stream(self, case: Pair) -> None:
        """`hook_attn_out` and `hook_mlp_out` are what is added, after the norms that Gemma 3 puts behind them."""
        for cached in (case.cached, case.their_cached):
            for layer in range(3):
                added = cached["attn_out", layer] + cached["mlp_out", layer]
                close(cached["resid_pre", layer] + added, cached["resid_post", layer])


class TestWriting:
    def test_every_edit_has_the_same_effect(self, case: Pair) -> None:
        plain = case.ours(TOKENS)
        for name in case.ours.hooks:
            known = name.endswith("hook_resid_mid") or different(name, case.ours)
            known |= case.ours.family.name == "OPT" and name.endswith("hook_pattern")
            if name not in case.their_cached or known or name.startswith(("blocks.0", "blocks.2")):
                continue
            actual = case.ours.run_with_hooks(TOKENS, [(name, edit)])
            assert (actual - plain).abs().max() > 0.01, name
            close(actual, case.theirs.run_with_hooks(TOKENS, fwd_hooks=[(name, edit)]), name)

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "opt"])
    def test_edits_of_scores_and_results(self, name: str) -> None:
        ours, theirs = pair(name).ours, with_results(name)

        def raised(value: Tensor, hook: Any) -> Tensor:
            return value.clamp(max=0.2)

        for hook, function in (("attn.hook_attn_scores", raised), ("attn.hook_result", edit)):
            hooks = [(f"blocks.1.{hook}", function)]
            close(ours.run_with_hooks(TOKENS, hooks), theirs.run_with_hooks(TOKENS, fwd_hooks=hooks), hook)

    def test_hook_functions_and_names_as_written_for_it(self) -> None:
        """The same call on either model: names by predicate, `hook` by keyword, values changed in place."""

        def silence(z: Tensor, hook: Any) -> Tensor:
            z[:, :, hook.layer()] = 0.0
            return z

        hooks = [(lambda name: name.endswith("attn.hook_z"), silence)]
        for name in ("gpt2", "llama"):
            ours, theirs, *_ = pair(name)
            close(ours.run_with_hooks(TOKENS, fwd_hooks=hooks), theirs.run_with_hooks(TOKENS, fwd_hooks=hooks))
            for model in (ours, theirs):
                _, cached = model.run_with_cache(TOKENS, names_filter=lambda name: name.endswith("hook_z"))
                assert list(cached.keys()) == [get_act_name("z", layer) for layer in range(3)]


class TestDefects:
    """Of transformer-lens 4.3."""

    def test_opts_scores_are_its_pattern(self) -> None:
        _, _, ours, theirs = pair("opt")
        assert torch.equal(theirs["blocks.1.attn.hook_attn_scores"], theirs["blocks.1.attn.hook_pattern"])
        assert not torch.allclose(ours["attn_scores", 1], theirs["attn_scores", 1])

    @pytest.mark.parametrize("name", ["attn.hook_pattern", "attn.hook_attn_scores"])
    def test_edits_of_opts_pattern_are_lost(self, name: str) -> None:
        ours, theirs, *_ = pair("opt")
        hooks = [(f"blocks.1.{name}", edit)]
        assert torch.equal(theirs.run_with_hooks(TOKENS, fwd_hooks=hooks), theirs(TOKENS))
        assert (ours.run_with_hooks(TOKENS, hooks) - ours(TOKENS)).abs().max() > 0.01

    def test_opt_shows_no_results(self) -> None:
        with pytest.raises(NotImplementedError, match="use_attn_result"):
            pair("opt").theirs.set_use_attn_result(True)

    def test_batch_and_position_are_one_axis_in_opts_second_norm(self) -> None:
        _, _, ours, theirs = pair("opt")
        assert theirs["blocks.1.ln2.hook_normalized"].shape == (90, 32)
        close(ours["normalized", 1, "ln2"].flatten(0, 1), theirs["blocks.1.ln2.hook_normalized"])

    @pytest.mark.parametrize("name", ["blocks.1.hook_resid_mid", "blocks.1.ln2.hook_in", None])
    def test_post_norm_opt_does_not_run_with_hooks_at_its_second_norm(self, name: str | None) -> None:
        theirs = bridge(BUILDERS["opt_350m_style"]())
        with pytest.raises(ValueError, match="not enough values to unpack"):
            theirs.run_with_cache(TOKENS, names_filter=name)

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "gpt_neox"])
    def test_an_edit_between_attention_and_ffn_reaches_the_ffn_alone(self, name: str) -> None:
        ours, theirs, cached, _ = pair(name)
        hooks = [("blocks.1.hook_resid_mid", edit)]
        assert not torch.allclose(ours.run_with_hooks(TOKENS, hooks), theirs.run_with_hooks(TOKENS, fwd_hooks=hooks))
        mid = edit(cached["resid_mid", 1], None)
        post = raw_hooks.rest_of_block(ours.hf, 1, mid)  # of the residual stream that was edited
        lacking = post - mid + cached["resid_mid", 1]  # of the one that was not
        seen: list[Tensor] = []
        record = ("blocks.1.hook_resid_post", lambda value, hook: seen.append(value))
        ours.run_with_hooks(TOKENS, [*hooks, record])
        theirs.run_with_hooks(TOKENS, fwd_hooks=[*hooks, record])
        close(seen[0], post)
        close(seen[1], lacking)

    def test_a_tokenizer_with_bos_must_have_a_name(self) -> None:
        with pytest.raises(KeyError, match="name_or_path"):
            TransformerBridge.boot_transformers("tiny", hf_model=BUILDERS["llama"](), tokenizer=bpe_tokenizer())

    def test_gemma_3_is_not_told_by_its_type(self) -> None:
        with pytest.raises(ValueError, match="Could not determine supported architecture"):
            TransformerBridge.boot_transformers(
                "tiny", hf_model=BUILDERS["gemma3"](), tokenizer=bpe_tokenizer(bos=False)
            )

    @pytest.mark.parametrize("name", ["opt", "gpt2", "llama"])
    def test_the_model_given_is_changed(self, name: str) -> None:
        hf = BUILDERS[name]()
        hf.config.architectures = [type(hf).__name__]
        modules = dict(hf.named_modules())
        TransformerBridge.boot_transformers("tiny", hf_model=hf, tokenizer=bpe_tokenizer(bos=False))
        assert hf.config._attn_implementation == "eager"
        assert dict(hf.named_modules()).keys() != modules.keys()

    @pytest.mark.parametrize("process", [lambda it: it.process_weights(), lambda it: it.enable_compatibility_mode()])
    def test_only_a_private_attribute_tells_that_weights_were_processed(self, process: Callable[[Any], None]) -> None:
        """`headcount.tracing.sources.bridge` reads it: without it, folded weights would be taken for the model's."""
        theirs = bridge(BUILDERS["gpt2"]())
        assert theirs._weights_processed is False
        assert theirs.compatibility_mode is False
        process(theirs)
        assert theirs._weights_processed is True
