"""Removals belong to the thread that asked for them, and the state of torch and of modules changes no number."""

import pickle
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from reference.models import bpe_tokenizer, gpt2, opt
from torch import Tensor, nn

from headcount.importance import Example, head_importance
from headcount.induction import copying
from headcount.results import HeadScores, InputError, LayerScores
from headcount.tracing import AttentionCall, Model, load_model, masked, pruned, save_pruned
from headcount.tracing.internal import weights_aside

TOKENS = torch.arange(3, 20)[None]
EXAMPLES = [Example("ba be", " ca"), Example("bu ba", " de")]


@pytest.fixture
def model() -> Model:
    hf = opt()
    hf.requires_grad_(False)
    return load_model(hf, tokenizer=bpe_tokenizer())


class TestThreads:
    def test_another_thread_runs_the_whole_model(self, model: Model) -> None:
        plain, found = model(TOKENS), []
        with masked(model, heads=[(0, 1)]):
            thread = threading.Thread(target=lambda: found.append(model(TOKENS)))
            thread.start()
            thread.join()
            inside = model(TOKENS)
        assert torch.equal(found[0], plain)
        assert not torch.equal(inside, plain)

    def test_threads_with_removals_of_their_own_do_not_meet(self, model: Model) -> None:
        heads = [(layer, head) for layer in range(3) for head in range(4)]
        expected = {}
        for head in heads:
            with masked(model, heads=[head]):
                expected[head] = model(TOKENS)
        found: dict[tuple[int, int], Tensor] = {}

        def run(head: tuple[int, int]) -> None:
            with masked(model, heads=[head]):
                found[head] = model(TOKENS)

        threads = [threading.Thread(target=run, args=(head,)) for head in heads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(torch.equal(found[head], expected[head]) for head in heads)

    def test_blocks_may_end_in_any_order(self, model: Model) -> None:
        plain = model(TOKENS)
        first, second = ExitStack(), ExitStack()
        first.enter_context(masked(model, heads=[(0, 1)]))
        second.enter_context(masked(model, heads=[(1, 1)]))
        first.close()
        assert model.removed is not None
        assert model.removed.heads.nonzero().tolist() == [[1, 1]]
        second.close()
        assert model.removed is None
        assert torch.equal(model(TOKENS), plain)

    def test_a_copy_is_not_made_inside(self, model: Model) -> None:
        import copy

        with masked(model, heads=[(0, 1)]), pytest.raises(InputError, match="copy it outside of the block"):
            copy.deepcopy(model)

    def test_hooks_of_a_block(self, model: Model) -> None:
        hooks = [("blocks.1.attn.hook_z", lambda z, hook: 0 * z)]
        plain, expected = model(TOKENS), model.run_with_hooks(TOKENS, hooks)
        with model.hooks(fwd_hooks=hooks) as inside:
            assert inside is model
            assert torch.equal(model(TOKENS), expected)
            assert not model.run_with_cache(TOKENS)[1]["z", 1].any()
            assert head_importance(model, EXAMPLES).provenance["hooks"] == ["blocks.1.attn.hook_z"]
        assert torch.equal(model(TOKENS), plain)
        assert "hooks" not in head_importance(model, EXAMPLES).provenance
        with pytest.raises(InputError, match="unknown hook name"), model.hooks(fwd_hooks=[("hook_none", print)]):
            pass


class TestStateOfTorch:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_changes_no_number(self, model: Model, dtype: torch.dtype) -> None:
        logits, scores = model(TOKENS), head_importance(model, EXAMPLES)
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(model(TOKENS), logits)
            assert torch.equal(head_importance(model, EXAMPLES).values, scores.values)

    def test_inference_mode_gives_logits_and_refuses_gradients(self, model: Model) -> None:
        logits = model(TOKENS)
        with torch.inference_mode():
            assert torch.equal(model(TOKENS), logits)
            with pytest.raises(InputError, match=r"cannot give gradients in torch.inference_mode"):
                head_importance(model, EXAMPLES)

    def test_a_model_from_inference_mode_refuses_gradients(self) -> None:
        with torch.inference_mode():
            model = load_model(opt(), tokenizer=bpe_tokenizer())
        with pytest.raises(InputError, match="open it and measure outside"):
            head_importance(model, EXAMPLES)


class TestModules:
    def test_a_hook_that_came_later_is_refused(self, model: Model) -> None:
        plain = model(TOKENS)
        handle = model.hf.model.decoder.layers[1].register_forward_hook(lambda *arguments: None)
        for call in (model, model.run_with_cache):
            with pytest.raises(InputError, match="forward hook after the model was opened, perhaps model"):
                call(TOKENS)
        handle.remove()
        assert torch.equal(model(TOKENS), plain)

    def test_a_hook_that_was_there_may_watch(self) -> None:
        hf, seen = opt(), []
        hf.model.decoder.layers[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
        model = load_model(hf)
        torch.testing.assert_close(model.run_with_cache(TOKENS)[1]["resid_post", 1], seen[-1])

    @pytest.mark.parametrize(("module", "hook"), [("layers.1", "hook_resid_post"), ("layers.1.fc2", "hook_resid_post")])
    def test_a_hook_that_was_there_and_changes_values_is_refused(self, module: str, hook: str) -> None:
        hf = opt()
        hf.get_submodule(f"model.decoder.{module}").register_forward_hook(lambda module, inputs, output: 2 * output)
        with pytest.raises(InputError, match=f"blocks.1.{hook}: must be"):
            load_model(hf)

    def test_a_projection_with_an_adapter_is_not_read_as_a_matrix(self) -> None:
        class Adapted(nn.Module):
            """What adapter libraries put in place of a linear module."""

            def __init__(self, base: nn.Linear) -> None:
                super().__init__()
                self.base, self.adapter = base, nn.Linear(base.in_features, base.out_features, bias=False)

            weight = property(lambda self: self.base.weight)
            bias = property(lambda self: self.base.bias)

            def forward(self, x: Tensor) -> Tensor:
                return self.base(x) + self.adapter(x)

        hf = opt()
        attention = hf.model.decoder.layers[1].self_attn
        attention.v_proj = Adapted(attention.v_proj)
        with pytest.raises(InputError, match=r"weights of a Adapted in .*merge_and_unload"):
            copying(load_model(hf), TOKENS, "eigenvalue")

    def test_gpt2s_own_matrices_are_read(self) -> None:
        assert copying(load_model(gpt2()), TOKENS, "eigenvalue").values.isfinite().all()

    def test_lora_modules_are_refused_by_name(self) -> None:
        hf = opt()
        hf.model.decoder.layers[0].self_attn.q_proj.lora_A = nn.Linear(32, 4)
        with pytest.raises(InputError, match="has LoRA modules: merge them first"):
            load_model(hf)

    def test_compiled_models_are_refused_by_name(self) -> None:
        class Compiled(nn.Module):
            _orig_mod = None

        with pytest.raises(InputError, match=r"pass model\._orig_mod"):
            load_model(Compiled())


def test_a_model_says_why_it_is_not_pickled(model: Model) -> None:
    with pytest.raises(TypeError, match=r"bound to nnsight: send its name, and load_model\(name\) there"):
        pickle.dumps(model)


class TestWhatNamesParts:
    def test_what_top_returns(self, model: Model) -> None:
        heads = HeadScores(torch.arange(12.0).view(3, 4)).top(2)
        ffns = LayerScores([0.1, 0.3, 0.2]).top(1)
        with masked(model, heads=heads, ffns=ffns):
            assert model.removed.heads.nonzero().tolist() == [[2, 2], [2, 3]]
            assert model.removed.ffns.tolist() == [False, True, False]

    def test_numbers_of_a_model_with_two_layers(self) -> None:
        model = load_model("tiny-opt")
        mask = torch.tensor([1, 0])
        with pytest.raises(InputError, match="a list that names each layer once"), masked(model, ffns=mask):
            pass
        with masked(model, ffns=[1, 0]):
            assert model.removed.ffns.tolist() == [True, True]
        with masked(model, ffns=torch.tensor([1, 0]).bool()):
            assert model.removed.ffns.tolist() == [True, False]

    @pytest.mark.parametrize("ffns", [[0, 0, 1], torch.tensor([0, 0, 1]), [1, 1, 1], (0, 0, 0)])
    def test_a_mask_of_numbers_is_refused(self, model: Model, ffns: object) -> None:
        with pytest.raises(InputError, match="not 0 and 1 in the shape of a mask"), masked(model, ffns=ffns):
            pass

    @pytest.mark.parametrize("heads", [torch.tensor([[0, 1], [1, 0], [1, 1]]), [[0, 1], [1, 0], [1, 1]]])
    def test_pairs_or_mask_of_a_model_with_two_heads(self, heads: object) -> None:
        config = opt().config
        config.num_attention_heads = 2
        model = load_model(type(opt())(config))
        with pytest.raises(InputError, match="not 0 and 1 in the shape of a mask"), masked(model, heads=heads):
            pass
        pairs = [tuple(pair) for pair in torch.as_tensor(heads).tolist()]
        with masked(model, heads=pairs):
            assert model.removed.heads.tolist() == [[False, True], [True, True], [False, False]]
        with masked(model, heads=torch.as_tensor(heads).bool()):
            assert model.removed.heads.tolist() == [[False, True], [True, False], [True, True]]


class TestMessages:
    def test_a_name_without_its_block(self, model: Model) -> None:
        expected = r"did you mean blocks.0.attn.hook_z, .*, blocks.2.attn.hook_z\? All of them: names=lambda"
        with pytest.raises(InputError, match=expected):
            model.run_with_cache(TOKENS, names="hook_z")

    def test_flex_attention(self) -> None:
        class BlockMask:
            """Flex attention's mask, which is no tensor."""

        query = torch.zeros(1, 1, 2, 4)
        with pytest.raises(InputError, match="flex attention is not supported: load the model with"):
            AttentionCall.of((nn.Linear(1, 1), query, query, query, BlockMask()), {})

    def test_a_pruned_folder_that_is_to_be_streamed(self, model: Model, tmp_path: Path) -> None:
        save_pruned(pruned(model, heads=[(0, 0)]), tmp_path / "small")
        with pytest.raises(InputError, match="holds a pruned model, which is read into memory: leave stream=True out"):
            load_model(tmp_path / "small", stream=True)


def test_the_hubs_commit_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--someone--model"
    snapshot = folder / "snapshots" / commit
    opt().save_pretrained(snapshot)
    bpe_tokenizer().save_pretrained(snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, "main", commit):
        model = load_model("someone/model", revision=revision)
        assert model.revision == commit
        assert head_importance(model, EXAMPLES).provenance["revision"] == commit
    assert load_model(snapshot).revision is None


def test_weights_put_aside_leave_their_device_and_come_back_with_all_their_views(model: Model) -> None:
    """Shown on the CPU, where the storages can be emptied as well."""
    weights = dict(model.hf.state_dict())
    before, view = {name: weight.clone() for name, weight in weights.items()}, next(model.hf.parameters())[1:]
    expected, logits = view.clone(), model(TOKENS)
    with weights_aside(model.hf):  # none of its weights is on a GPU
        assert torch.equal(model(TOKENS), logits)
    with weights_aside(model.hf, device="cpu"):
        assert all(weight.untyped_storage().nbytes() == 0 for weight in weights.values())
    assert torch.equal(view, expected)
    assert all(torch.equal(weight, before[name]) for name, weight in model.hf.state_dict().items())
    assert torch.equal(model(TOKENS), logits)
