"""Opening a model: every kind of source, what stays as it was, what the check catches, and every error in one line."""

import gc
import json
import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from nnsight.modeling.transformers import TransformersModel
from reference.bridges import bridge
from reference.models import BUILDERS, GROUPED, SIZES, VOCAB, bpe_tokenizer, build
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    GPTNeoXJapaneseConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    MambaConfig,
    OPTConfig,
    PreTrainedModel,
)

from headcount.results import InputError
from headcount.tracing import Model, load_model, randomised
from headcount.tracing.architectures import families

TOKENS = torch.randint(VOCAB, (2, 12), generator=torch.Generator().manual_seed(2))

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=BUILDERS)
def hf(request: pytest.FixtureRequest) -> PreTrainedModel:
    return BUILDERS[request.param]()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama model and its tokenizer, saved."""
    return saved(BUILDERS["llama"](), tmp_path / "a llama")


def saved(model: PreTrainedModel, path: Path) -> Path:
    model.save_pretrained(path)
    bpe_tokenizer().save_pretrained(path)
    return path


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 800


class TestFolders:
    def test_model_and_tokenizer(self, hf: PreTrainedModel, tmp_path: Path) -> None:
        path = saved(hf, tmp_path / "model")
        for source in (path, str(path)):
            model = load_model(source)
            assert torch.equal(model(TOKENS), hf(TOKENS).logits)
            assert model.name == "model"
            assert model.revision is None
            assert model.dtype == torch.float32
            assert model.to_tokens("so we go").tolist() == [bpe_tokenizer().encode("so we go")]
            assert not any(parameter.requires_grad for parameter in model.hf.parameters())
            assert not model.hf.training
            assert "model" in repr(model)
            assert "3 layers, 4 heads" in repr(model)

    def test_relative_and_home_paths(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder.parent)
        monkeypatch.setenv("HOME", str(folder.parent))
        for source in ("a llama", "./a llama", "~/a llama", Path("a llama"), Path("~/a llama")):
            assert load_model(source).name == "a llama"
        monkeypatch.chdir(folder)
        assert load_model(".").name == "a llama"

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
    def test_dtype(self, folder: Path, dtype: str) -> None:
        for given in (dtype, getattr(torch, dtype)):
            model = load_model(folder, dtype=given)
            assert model.dtype == getattr(torch, dtype)
            assert model.run_with_cache(TOKENS)[1]["z", 1].dtype == model.dtype

    def test_the_checkpoints_own_dtype(self, tmp_path: Path) -> None:
        assert load_model(saved(BUILDERS["opt"]().bfloat16(), tmp_path)).dtype == torch.bfloat16

    def test_device_map(self, folder: Path) -> None:
        for device_map in ("cpu", {"": "cpu"}, "auto", torch.device("cpu")):
            model = load_model(folder, device_map=device_map)
            assert model.device == torch.device("cpu")
            assert model(TOKENS).shape == (2, 12, VOCAB)

    def test_another_tokenizer(self, folder: Path, tmp_path: Path) -> None:
        tokenizer = bpe_tokenizer(bos=False)
        assert load_model(folder, tokenizer=tokenizer).tokenizer is tokenizer
        for file in folder.glob("token*"):
            file.unlink()
        assert load_model(folder, tokenizer=tokenizer).tokenizer is tokenizer
        with pytest.raises(InputError, match="holds no tokenizer: put its files there") as error:
            load_model(folder)
        assert one_line(error)

    def test_the_global_random_state_stays(self, folder: Path) -> None:
        before = torch.get_rng_state()
        model = load_model(folder)
        randomised(model)
        assert torch.equal(torch.get_rng_state(), before)


class TestModelsInHand:
    def test_everything_stays_as_it_was(self, hf: PreTrainedModel) -> None:
        hf.get_submodule(
            next(name for name, _ in hf.named_modules() if "norm" in name or "ln_" in name)
        ).requires_grad_(False)
        for attention in ("sdpa", "eager"):
            hf.set_attn_implementation(attention)
            before = {name: tensor.clone() for name, tensor in hf.state_dict().items()}
            places = {name: tensor.data_ptr() for name, tensor in hf.state_dict().items()}
            trainable = {name: parameter.requires_grad for name, parameter in hf.named_parameters()}
            config, logits = hf.config.to_dict(), hf(TOKENS).logits
            model = load_model(hf)
            model.run_with_cache(TOKENS)
            assert model.hf is hf
            assert hf.config._attn_implementation == attention
            assert hf.config.to_dict() == config
            assert {name: tensor.data_ptr() for name, tensor in hf.state_dict().items()} == places
            assert all(torch.equal(tensor, before[name]) for name, tensor in hf.state_dict().items())
            assert {name: parameter.requires_grad for name, parameter in hf.named_parameters()} == trainable
            assert torch.equal(hf(TOKENS).logits, logits)
            assert torch.equal(model(TOKENS), logits)
            assert all(parameter.grad is None for parameter in hf.parameters())

    @pytest.mark.parametrize("tokenizer", [None, bpe_tokenizer()], ids=["no tokenizer", "a tokenizer"])
    def test_where_it_is_it_stays(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where there is a GPU, to which a pipeline of transformers would take it."""
        monkeypatch.setattr("transformers.pipelines.base.is_torch_cuda_available", lambda: True)
        hf = BUILDERS["llama"]()
        assert str(load_model(hf, tokenizer=tokenizer).device) == "cpu"
        hf.hf_device_map = {"": torch.device("cpu")}  # as accelerate leaves it
        assert str(load_model(hf, tokenizer=tokenizer).device) == "cpu"

    def test_the_tokenizer_stays_as_it_was(self) -> None:
        tokenizer = bpe_tokenizer()
        tokenizer.padding_side, tokenizer.pad_token = "right", "<unk>"
        before = list(tokenizer.__dict__)
        model = load_model(BUILDERS["llama"](), tokenizer=tokenizer)
        model("so we go")
        assert model.tokenizer is tokenizer
        assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", "<unk>")
        assert list(tokenizer.__dict__) == before

    def test_it_is_put_in_evaluation_mode(self) -> None:
        hf = build(GPT2Config(**SIZES, resid_pdrop=0.5), 0).train()
        model = load_model(hf)
        assert not hf.training
        assert torch.equal(model(TOKENS), model(TOKENS))

    def test_it_can_still_be_trained(self) -> None:
        hf = BUILDERS["llama"]()
        model = load_model(hf)
        optimizer = torch.optim.SGD(hf.parameters(), lr=0.1)
        hf(TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        assert torch.equal(model(TOKENS), hf(TOKENS).logits)
        assert (model.run_with_cache(TOKENS)[0] - hf(TOKENS).logits).abs().max() < 1e-4

    def test_twice(self) -> None:
        hf = BUILDERS["gpt2"]()
        first = load_model(hf)
        _, before = first.run_with_cache(TOKENS)
        second = load_model(hf, tokenizer=bpe_tokenizer())
        for model in (first, second, first):
            _, cached = model.run_with_cache(TOKENS)
            assert all(torch.equal(cached[name], before[name]) for name in before)

    def test_two_at_once(self) -> None:
        models = {name: load_model(BUILDERS[name]()) for name in ("opt", "opt_350m_style", "llama")}
        expected = {name: BUILDERS[name]()(TOKENS).logits for name in models}
        for _ in range(2):
            for name, model in models.items():
                assert (model.run_with_cache(TOKENS)[0] - expected[name]).abs().max() < 1e-4

    def test_dtypes(self, hf: PreTrainedModel) -> None:
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            model = load_model(deepcopy(hf).to(dtype))
            logits, cached = model.run_with_cache(TOKENS)
            assert model.dtype == logits.dtype == dtype
            assert {tensor.dtype for tensor in cached.values()} == {dtype}

    def test_not_a_number(self, hf: PreTrainedModel) -> None:
        """A model that diverged can be looked at."""
        for parameter in hf.parameters():
            parameter.data.fill_(torch.nan)
        assert load_model(hf).run_with_cache(TOKENS)[1]["pattern", 0].isnan().all()

    def test_weights_of_zero(self, hf: PreTrainedModel) -> None:
        for parameter in hf.parameters():
            parameter.data.zero_()
        assert load_model(hf)(TOKENS).shape == (2, 12, VOCAB)

    def test_a_last_layer_whose_attention_was_pruned_away(self, hf: PreTrainedModel) -> None:
        family = load_model(hf).family
        projection = hf.get_submodule(f"{family.layers}.2.{family.output}")
        projection.weight.data.zero_()
        assert not load_model(hf).run_with_cache(TOKENS)[1]["result", 2].any()

    def test_no_weights(self) -> None:
        """On meta, where only shapes exist."""
        for name, maker in BUILDERS.items():
            config = maker().config
            if name == "gpt2":
                config.pad_token_id = None  # as in GPT-2; or else transformers looks for padding, token by token
            for attention in ("sdpa", "eager") if name == "llama" else ("sdpa",):
                with torch.device("meta"):
                    hf = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
                model = load_model(hf)
                assert model.device.type == "meta"
                logits, cached = model.run_with_cache(TOKENS)
                assert logits.shape == (2, 12, VOCAB)
                assert cached["pattern", 2].shape == (2, 4, 12, 12)
                assert all(tensor.is_meta for tensor in [logits, *cached.values()])
                assert model.run_with_hooks(TOKENS, [("blocks.0.attn.hook_z", lambda v, hook: 2 * v)]).is_meta

    def test_one_layer_and_one_head(self) -> None:
        sizes = GROUPED | {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
        model = load_model(build(LlamaConfig(**sizes), 0))
        assert model.run_with_cache(TOKENS)[1]["pattern", 0].shape == (2, 1, 12, 12)

    def test_inference_tensors(self) -> None:
        with torch.inference_mode():
            model = load_model(BUILDERS["llama"]())
        with torch.no_grad():
            assert model.run_with_cache(TOKENS)[0].shape == model(TOKENS).shape == (2, 12, VOCAB)
        assert len(model.fingerprint()) == 24

    def test_a_copy_is_a_model_of_its_own(self) -> None:
        model = load_model(BUILDERS["llama"]())
        copy = deepcopy(model)
        assert copy.hf is not model.hf
        with torch.no_grad():
            copy.hf.lm_head.weight.zero_()
        assert not copy.run_with_cache(TOKENS)[0].any()
        assert model.run_with_cache(TOKENS)[0].any()

    @pytest.mark.parametrize("with_tokenizer", [False, True])
    def test_nothing_is_kept_of_a_model_that_is_gone(self, with_tokenizer: bool) -> None:
        gone = []
        for _ in range(3):
            hf = BUILDERS["llama"]()
            model = load_model(hf, tokenizer=bpe_tokenizer() if with_tokenizer else None)
            model.run_with_cache(TOKENS)
            with pytest.raises(ZeroDivisionError):
                model.run_with_hooks(TOKENS, [("hook_embed", lambda v, hook: 1 / 0)])
            gone += [weakref.ref(hf), weakref.ref(model), weakref.ref(model.nnsight)]
            del hf, model
        gc.collect()
        assert [reference() for reference in gone] == [None] * 9

    def test_what_a_hook_saw_is_released(self) -> None:
        model, seen = load_model(BUILDERS["llama"]()), []
        model.run_with_hooks(TOKENS, [("blocks.0.hook_resid_post", lambda v, hook: seen.append(weakref.ref(v)))])
        _, cached = model.run_with_cache(TOKENS)
        seen += [weakref.ref(tensor) for tensor in cached.values()]
        del cached
        gc.collect()
        assert [reference() for reference in seen] == [None] * len(seen)


class TestNnsightModels:
    @pytest.mark.parametrize(
        "wrap",
        [nnsight.NNsight, lambda hf: TransformersModel(hf, tokenizer=bpe_tokenizer())],
        ids=["NNsight", "Transformers"],
    )
    def test_the_same_object_is_used(self, hf: PreTrainedModel, wrap: Callable[[Any], Any]) -> None:
        wrapped = wrap(hf)
        model = load_model(wrapped)
        assert model.nnsight is wrapped
        assert model.hf is hf
        assert torch.equal(model(TOKENS), hf(TOKENS).logits)
        assert model.tokenizer is getattr(wrapped, "tokenizer", None)
        with wrapped.trace(TOKENS):
            logits = wrapped.output.logits.save()
        assert torch.equal(logits, hf(TOKENS).logits)

    def test_a_tokenizer_of_ones_own(self) -> None:
        tokenizer = bpe_tokenizer()
        assert load_model(nnsight.NNsight(BUILDERS["llama"]()), tokenizer=tokenizer).tokenizer is tokenizer

    def test_weights_that_were_not_read_yet(self, folder: Path) -> None:
        lazy = TransformersModel(str(folder), task="text-generation", tokenizer=bpe_tokenizer())
        assert next(lazy._module.parameters()).is_meta
        model = load_model(lazy)
        assert torch.equal(model(TOKENS), load_model(folder)(TOKENS))
        assert model.hf is lazy._module
        assert model.device.type == "cpu"


class TestBridges:
    def test_a_clean_model_around_the_same_tensors(self, hf: PreTrainedModel) -> None:
        theirs = bridge(hf)
        logits, modules = theirs(TOKENS), dict(theirs.original_model.named_modules())
        model = load_model(theirs)
        assert type(model.hf) is type(hf)
        assert dict(model.hf.named_modules()).keys() == dict(hf.named_modules()).keys()
        assert torch.equal(model(TOKENS), hf(TOKENS).logits)
        assert model.hf.config._attn_implementation == "sdpa"
        assert model.tokenizer is theirs.tokenizer
        assert model.name == "tiny"
        there = {parameter.data_ptr() for parameter in theirs.original_model.parameters()}
        assert all(parameter.data_ptr() in there for parameter in model.hf.parameters())

        assert torch.equal(theirs(TOKENS), logits)
        assert dict(theirs.original_model.named_modules()) == modules
        assert theirs.original_model.config._attn_implementation == "eager"
        edited = theirs.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.attn.hook_z", lambda z, hook: 0 * z)])
        ours = model.run_with_hooks(TOKENS, [("blocks.1.attn.hook_z", lambda z, hook: 0 * z)])
        assert (edited - ours).abs().max() < 1e-4

    def test_an_edited_weight_is_seen_in_both(self) -> None:
        theirs = bridge(BUILDERS["llama"]())
        model = load_model(theirs)
        with torch.no_grad():
            model.hf.model.layers[1].self_attn.o_proj.weight.mul_(2)
        assert (theirs(TOKENS) - model(TOKENS)).abs().max() < 1e-4

    @pytest.mark.parametrize(
        "process",
        [
            lambda it: it.enable_compatibility_mode(disable_warnings=True),
            lambda it: it.enable_compatibility_mode(disable_warnings=True, no_processing=True),
            lambda it: it.process_weights(),
            lambda it: it.process_weights(fold_ln=False, center_unembed=False, fold_value_biases=False),
        ],
    )
    def test_weights_that_were_processed_are_refused(self, process: Callable[[Any], None]) -> None:
        theirs = bridge(BUILDERS["gpt2"]())
        process(theirs)
        with pytest.raises(
            InputError, match=r"compatibility mode.*pass a bridge without enable_compatibility_mode"
        ) as error:
            load_model(theirs)
        assert one_line(error)


class TestSelfCheck:
    """A wrong entry in the hook map is found at load, and the error names the model and the hook."""

    @pytest.mark.parametrize(
        ("name", "entry", "wrong", "hook"),
        [
            ("opt", "OPT", {"mid": "hidden_states_1"}, "hook_resid_mid"),
            ("opt", "OPT", {"mid": "hidden_states_5"}, "ln2.hook_normalized"),
            ("opt", "OPT", {"mid": "hidden_states_99"}, "hook_resid_mid"),
            ("opt", "OPT", {"query": "self_attn.k_proj", "key": "self_attn.q_proj"}, r"attn\.hook_[qk]"),
            ("opt", "OPT", {"value": "self_attn.k_proj", "key": "self_attn.v_proj"}, "attn.hook_v"),
            ("opt", "OPT", {"value": "self_attn.q_proj", "query": "self_attn.v_proj"}, r"attn\.hook_[qk]"),
            ("opt", "OPT", {"attention_added": "fc2"}, "hook_resid_mid"),
            ("opt", "OPT", {"output": "self_attn.q_proj"}, ""),
            ("opt", "OPT", {"flat_mlp": False}, ""),
            ("opt", "OPT", {"mlp_added": "fc1"}, "hook_mlp_out"),
            ("opt", "OPT", {"mlp_added": "self_attn.out_proj"}, ""),
            ("opt_350m_style", "OPT", {"project_in": ""}, "hook_embed should be"),
            ("gpt2", "GPT2", {"fused_layout": "interleaved"}, "attn.hook_q"),
            ("gpt2", "GPT2", {"mid": "hidden_states_0"}, "hook_resid_mid"),
            ("gpt2", "GPT2", {"mid": "hidden_states_4"}, "ln2.hook_normalized"),
            ("gpt_neox", "GPT_NEOX", {"fused_layout": "in turn"}, "attn.hook_q"),
            ("gpt_neox", "GPT_NEOX", {"attention_added": "mlp"}, ""),
            ("llama", "LLAMA", {"mid": "hidden_states_0"}, "hook_resid_mid"),
            ("llama", "LLAMA", {"mid": "hidden_states_2"}, "ln2.hook_normalized"),
            ("llama", "LLAMA", {"query": "self_attn.k_proj", "key": "self_attn.q_proj"}, r"attn\.hook_[qk]"),
            ("llama", "LLAMA", {"value": "self_attn.k_proj", "key": "self_attn.v_proj"}, "attn.hook_v"),
            ("llama", "LLAMA", {"mlp_in": "mlp.gate_proj", "mlp_gate": "mlp.up_proj"}, "mlp.hook_pre"),
            ("llama", "LLAMA", {"mlp_added": "post_attention_layernorm"}, ""),
            ("llama", "LLAMA", {"attention": "mlp"}, "attention"),
            ("llama", "LLAMA", {"norm_1": "post_attention_layernorm"}, ""),
            ("gemma3", "GEMMA", {"attention_added": "self_attn.o_proj"}, "hook_resid_mid"),
            ("gemma3", "GEMMA", {"mlp_added": "mlp"}, "hook_resid_post"),
            ("gemma3", "GEMMA", {"mid": "hidden_states_1"}, "hook_resid_mid"),
            ("gemma3", "GEMMA", {"attention_added": "post_feedforward_layernorm"}, ""),
            ("gemma3", "GEMMA", {"output": "self_attn.v_proj"}, ""),
            ("mistral", "LLAMA", {"embed": "model.embeddings"}, "model.embeddings"),
        ],
    )
    def test_what_it_catches(
        self, name: str, entry: str, wrong: dict[str, Any], hook: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hf = BUILDERS[name]()
        load_model(hf)
        monkeypatch.setattr(
            "headcount.tracing.architectures.anatomy.FAMILIES", (replace(getattr(families, entry), **wrong),)
        )
        with pytest.raises(InputError, match=hook) as error:
            load_model(hf)
        assert type(hf).__name__ in str(error.value)
        assert one_line(error)

    def test_a_norm_of_another_form(self) -> None:
        class Shifted(nn.LayerNorm):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) + 0.5

        hf = BUILDERS["gpt2"]()
        hf.transformer.h[2].ln_1.__class__ = Shifted
        with pytest.raises(
            InputError, match=r"blocks\.2\.ln1\.hook_normalized: put back unchanged, it changes the logits"
        ):
            load_model(hf)

    def test_attention_that_is_no_function_call(self) -> None:
        hf = build(GPT2Config(**SIZES, reorder_and_upcast_attn=True), 0)
        load_model(hf)
        hf.set_attn_implementation("eager")
        with pytest.raises(InputError, match=r"GPT2LMHeadModel: no value for .* pass does not reach") as error:
            load_model(hf)
        assert one_line(error)

    def test_it_changes_nothing(self, hf: PreTrainedModel) -> None:
        before = torch.get_rng_state()
        logits = hf(TOKENS).logits
        load_model(hf)
        assert torch.equal(hf(TOKENS).logits, logits)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(parameter.grad is None for parameter in hf.parameters())


class TestBadInput:
    @pytest.mark.parametrize("source", ["no such folder/x/y", "/nowhere/at all", Path("nowhere"), "a b", "../x", "-x"])
    def test_no_such_folder(self, source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        self.fails(source, "no model at")

    def test_a_file(self, folder: Path) -> None:
        self.fails(str(folder / "config.json"), "no model at")
        self.fails(folder / "model.safetensors", "no model at")

    def test_a_folder_without_config(self, tmp_path: Path) -> None:
        self.fails(tmp_path, "holds no model: expected a folder with config.json and weights")

    def test_a_folder_without_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        self.fails(folder, r"holds no weights: expected model\.safetensors")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "configuration"),
            ("", "configuration"),
            ("[]", "configuration"),
            ("null", "configuration"),
            ("\x00\xff", "configuration"),
            ("{}", "model_type"),
            ('{"model_type": "no_such"}', "no_such"),
            ('{"model_type": "llama", "hidden_size": "many"}', "configuration"),
            ('{"model_type": 3}', "configuration"),
        ],
    )
    def test_a_broken_config(self, folder: Path, text: str, message: str) -> None:
        (folder / "config.json").write_text(text, encoding="latin-1")
        self.fails(folder, message)

    def test_a_config_that_does_not_fit_the_weights(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
        self.fails(folder, r"model.embed_tokens.weight of .* should be \[168, 64\], but is \[168, 32\]")

    @pytest.mark.parametrize("size", [0, 4, 100, 5000, -1])
    def test_truncated_weights(self, folder: Path, size: int) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:size])
        self.fails(folder, "cannot be read as weights")

    def test_weights_that_lack_a_tensor(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
        self.fails(folder, r"incomplete: 9 tensors are missing, first model\.layers\.3")

    @pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
    def test_a_broken_tokenizer(self, folder: Path, file: str) -> None:
        (folder / file).write_text("{")
        self.fails(folder, "cannot read the tokenizer of model")

    @pytest.mark.parametrize("config", [BertConfig, MambaConfig])
    def test_an_architecture_that_is_not_supported(self, config: type, tmp_path: Path) -> None:
        config().save_pretrained(tmp_path)
        self.fails(
            tmp_path, f"architecture '{config.model_type}' is not supported: expected one of opt, gpt2, gpt_neox"
        )

    def test_a_model_of_such_an_architecture(self) -> None:
        hf = AutoModelForCausalLM.from_config(GPTNeoXJapaneseConfig(**GROUPED))
        hf.gpt_neox_japanese.layers[-1].attention.dense_bias.data += 1.0
        self.fails(hf, "architecture 'gpt_neox_japanese' is not supported")

    @pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
    def test_a_model_that_predicts_no_tokens(self, kind: type) -> None:
        self.fails(kind(LlamaConfig(**GROUPED)), f"{kind.__name__} has no unembedding")

    @pytest.mark.parametrize("source", [3, 1.5, b"x", ["a"], {}, nn.Linear(2, 2), object(), LlamaConfig(**GROUPED)])
    def test_something_else(self, source: object) -> None:
        self.fails(source, f"cannot load a model from {type(source).__name__}: expected a name, a folder")

    @pytest.mark.parametrize("name", ["gpt2", "EleutherAI/pythia-70m"])
    def test_a_hub_name_without_a_network(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        self.fails(name, f"no model '{name}': there is no such folder here, and the Hub did not give it")

    @pytest.mark.parametrize("option", [{"revision": "main"}, {"dtype": torch.float32}, {"device_map": "cpu"}])
    def test_options_that_a_model_in_hand_has_no_use_for(self, option: dict[str, Any]) -> None:
        hf = BUILDERS["llama"]()
        for source in (hf, nnsight.NNsight(hf)):
            self.fails(source, "a model object stays as it is", **option)

    @pytest.mark.parametrize("stream", [True, False])
    def test_a_revision_of_a_folder(self, folder: Path, stream: bool) -> None:
        for source in (folder, "tiny-opt"):
            self.fails(source, "is in a folder, which has no revision 'v2'", revision="v2", stream=stream)

    @pytest.mark.parametrize("dtype", ["floaty", "int8", torch.int32, 3, "Tensor", "complex64"])
    def test_a_dtype_that_is_none(self, folder: Path, dtype: object) -> None:
        self.fails(folder, "dtype must be float32, bfloat16, float16 or float64, not", dtype=dtype)

    @pytest.mark.parametrize("device_map", ["nowhere", 3.5])
    def test_a_device_map_that_is_none(self, folder: Path, device_map: object) -> None:
        self.fails(folder, "cannot read the weights of model", device_map=device_map)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there(self, folder: Path) -> None:
        self.fails(folder, "cannot read the weights of model .*(CUDA|NVIDIA)", device_map="cuda")

    def test_weights_on_disk(self, folder: Path) -> None:
        places = dict.fromkeys(["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"], "cpu")
        places |= {f"model.layers.{layer}": "disk" if layer == 1 else "cpu" for layer in range(3)}
        self.fails(folder, r"9 weights are not in memory.*leave disk out of device_map", device_map=places)

    @staticmethod
    def fails(source: Any, message: str, **options: Any) -> None:
        with pytest.raises(InputError, match=message) as error:
            load_model(source, **options)
        assert one_line(error), error.value


class TestRandomised:
    def test_the_architecture_with_other_weights(self, hf: PreTrainedModel) -> None:
        model = load_model(hf, tokenizer=bpe_tokenizer())
        logits = model(TOKENS)
        control = randomised(model, seed=3)
        assert isinstance(control, Model)
        assert type(control.hf) is type(hf)
        assert control.sizes == model.sizes
        assert control.dtype == model.dtype
        assert control.tokenizer is model.tokenizer
        assert "random weights (seed 3)" in control.name
        assert torch.equal(model(TOKENS), logits)
        assert not torch.allclose(control(TOKENS), logits)
        assert torch.equal(control(TOKENS), randomised(model, seed=3)(TOKENS))
        assert not torch.allclose(control(TOKENS), randomised(model, seed=4)(TOKENS))

    def test_sizes(self) -> None:
        wide = load_model(BUILDERS["llama_wide_heads"]()).sizes
        assert (wide.n_layers, wide.n_heads, wide.n_kv_heads, wide.d_model, wide.d_head) == (3, 4, 1, 32, 12)
        assert (wide.d_mlp, wide.vocab, wide.context) == (48, VOCAB, 256)
        assert load_model(build(GPT2Config(**SIZES), 0)).sizes.d_mlp == 128
        assert load_model(build(OPTConfig(**SIZES, ffn_dim=40, word_embed_proj_dim=32), 0)).sizes.d_mlp == 40


def test_an_edit_that_does_not_reach_the_logits_is_refused(monkeypatch):
    monkeypatch.setattr("headcount.tracing.loading.hook_check._twice_plus_one", lambda value, hook: value)
    with pytest.raises(InputError, match=r"an edit of blocks\.\d+\.hook_mlp_out does not reach the logits"):
        load_model("tiny-opt")
