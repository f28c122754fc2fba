"""The hook map at the true sizes of published models, on meta: no weights are needed to know every shape."""

import pytest
import torch
import transformers

from headcount.results import InputError
from headcount.tracing import describe_model, load_model
from headcount.tracing.architectures.published_sizes import published_configuration, published_sizes

# As the models' cards and papers count them, in millions.
PARAMETERS = {
    "facebook/opt-125m": 125.2,
    "facebook/opt-350m": 331.2,
    "facebook/opt-1.3b": 1315.8,
    "facebook/opt-2.7b": 2651.6,
    "facebook/opt-6.7b": 6658.5,
    "facebook/opt-13b": 12853.5,
    "facebook/opt-30b": 29974.5,
    "facebook/opt-66b": 65719.7,
    "EleutherAI/pythia-70m": 70.4,
    "EleutherAI/pythia-160m": 162.3,
    "EleutherAI/pythia-410m": 405.3,
    "EleutherAI/pythia-1b": 1011.8,
    "EleutherAI/pythia-1.4b": 1414.6,
    "EleutherAI/pythia-2.8b": 2775.2,
    "EleutherAI/pythia-6.9b": 6857.3,
    "EleutherAI/pythia-12b": 11846.1,
    "openai-community/gpt2": 124.4,
    "openai-community/gpt2-medium": 354.8,
    "openai-community/gpt2-large": 774.0,
    "openai-community/gpt2-xl": 1557.6,
    "meta-llama/Llama-2-7b-hf": 6738.4,
    "meta-llama/Llama-2-13b-hf": 13015.9,
    "meta-llama/Llama-2-70b-hf": 68976.6,
    "meta-llama/Meta-Llama-3-8B": 8030.3,
    "meta-llama/Llama-3.2-1B": 1235.8,
    "HuggingFaceTB/SmolLM2-135M": 134.5,
    "HuggingFaceTB/SmolLM2-360M": 361.8,
    "HuggingFaceTB/SmolLM2-1.7B": 1711.4,
}
BATCH, POS = 2, 5

HOOKS_OF = (
    *("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-66b", "EleutherAI/pythia-70m", "EleutherAI/pythia-12b"),
    *("openai-community/gpt2", "openai-community/gpt2-xl", "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-70b-hf"),
    *("meta-llama/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-1.7B"),
)
"""The smallest and the largest of each family: sizes between them go the same way."""


def test_every_entry_has_its_parameters_counted_here():
    assert set(PARAMETERS) == set(published_sizes())


def on_meta(name):
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(published_configuration(name))


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_parameters_of_the_published_model(name):
    assert sum(weights.numel() for weights in on_meta(name).parameters()) / 1e6 == pytest.approx(
        PARAMETERS[name], abs=0.06
    )


@pytest.mark.parametrize("name", HOOKS_OF)
def test_every_hook_has_its_shape(name):
    """`load_model` itself looks at the shapes of all layers; here the first, middle and last are looked at again."""
    model = load_model(on_meta(name))
    layers = {0, model.sizes.n_layers // 2, model.sizes.n_layers - 1}
    tokens = torch.zeros(BATCH, POS, dtype=torch.long, device="meta")

    def is_selected(hook):
        return not hook.startswith("blocks.") or int(hook.split(".")[1]) in layers

    logits, cache = model.run_with_cache(tokens, names=is_selected)
    assert logits.shape == (BATCH, POS, model.sizes.vocab)
    assert {hook: tuple(cache[hook].shape) for hook in cache} == expected(model, is_selected)


def expected(model, is_selected):
    names = [site.name for site in model.hooks.find(None) if is_selected(site.name)]
    return {name: shape_of(model, name.split(".", 2)[-1] if name.startswith("blocks.") else name) for name in names}


def shape_of(model, name):
    s = model.sizes
    of_heads = {
        "attn.hook_q": (s.n_heads, s.d_head),
        "attn.hook_k": (s.n_kv_heads, s.d_head),
        "attn.hook_v": (s.n_kv_heads, s.d_head),
        "attn.hook_rot_q": (s.n_heads, s.d_head),
        "attn.hook_rot_k": (s.n_kv_heads, s.d_head),
        "attn.hook_z": (s.n_heads, s.d_head),
        "attn.hook_result": (s.n_heads, s.d_model),
    }
    if name in of_heads:
        return (BATCH, POS, *of_heads[name])
    if name in ("attn.hook_pattern", "attn.hook_attn_scores"):
        return BATCH, s.n_heads, POS, POS
    return BATCH, POS, s.d_mlp if name.startswith("mlp.hook_") else s.d_model


def test_a_name_that_is_published_needs_no_network():
    described = describe_model("facebook/opt-66b")
    assert (described.model.sizes.n_layers, described.model.sizes.n_heads) == (64, 72)
    assert described.model.dtype == torch.float16
    assert described.model.device.type == "meta"
    assert described.assumed == (
        "the published sizes of the model, and the default model's tokenizer: its own are not here",
    )


def test_a_configuration_file_is_enough(tmp_path):
    published_configuration("openai-community/gpt2").save_pretrained(tmp_path)
    described = describe_model(tmp_path / "config.json", dtype="bfloat16")
    assert described.model.sizes.d_model == 768
    assert described.model.dtype == torch.bfloat16
    assert len(described.assumed) == 1


def test_the_models_that_come_with_the_package_need_nothing_assumed():
    described = describe_model("tiny-opt")
    assert described.model.device.type == "meta"
    assert described.assumed == ()


def test_an_unknown_name_says_what_is_known():
    with pytest.raises(InputError, match="without it these are known: facebook/opt-125m"):
        describe_model("facebook/opt-67b")
