"""Every type of decoder, as a tiny model: it opens and equals raw PyTorch, or is refused for the reason on the page."""

from copy import deepcopy

import pytest
import torch
from reference import models_page, parts, raw_hooks, zoo
from reference.importance import log_likelihood
from reference.models import bpe_tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel

from headcount.importance import Example, head_importance
from headcount.importance.likelihoods.encoding import EncodedRequest, encode
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import InputError
from headcount.tracing import Model, load_model, masked

TOKENS = torch.randint(4, zoo.VOCAB, (2, 20), generator=torch.Generator().manual_seed(0))
TOKENIZER = bpe_tokenizer()
EXAMPLE = Example("the cat sat on the", " mat and")
ROWS = {
    line.split(" | ")[0].removeprefix("| "): line
    for line in models_page.PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| type")
}
OPENING = [model_type for model_type, row in ROWS.items() if row.split(" | ")[1] == "yes"]
WITHOUT_SINK = ("granite_swa", "granitemoe_swa")
"""Types whose own `output_attentions` leave the sink out, which their attention has."""

FALCON_ALIBI = {"alibi": True, "multi_query": False, "num_kv_heads": 4, "parallel_attn": False}
VARIANTS = [
    ("granite", {"residual_multiplier": 0.22, "embedding_multiplier": 12.0, "logits_scaling": 8.0}),
    ("granite", {"attention_multiplier": 0.5}),
    ("granitemoeshared", {"residual_multiplier": 0.22, "logits_scaling": 6.0}),
    ("minicpm3", {"scale_depth": 1.4, "scale_emb": 12.0}),
    ("olmo", {"clip_qkv": 0.5}),
    ("dbrx", {}),
    ("stablelm", {"use_parallel_residual": True}),
    ("stablelm", {"qk_layernorm": True}),
    ("phi", {"qk_layernorm": True}),
    ("cohere", {"use_qk_norm": True}),
    ("gemma4_text", {"attention_k_eq_v": True}),
    ("gemma4_text", {"global_head_dim": 32}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("gpt_bigcode", {"multi_query": False}),
    ("mixtral", {"sliding_window": 8}),
    ("phi3", {"sliding_window": 8}),
    ("starcoder2", {"sliding_window": 8}),
    ("qwen2_moe", {"mlp_only_layers": [0]}),
    ("qwen3_moe", {"mlp_only_layers": [1]}),
    ("deepseek_v3", {"q_lora_rank": None}),
    ("deepseek_v3", {"v_head_dim": 24}),
    ("gpt_oss", {"layer_types": ["full_attention"] * 3}),
    (
        "falcon_h1",
        {"attention_out_multiplier": 0.9, "ssm_out_multiplier": 0.7, "attention_in_multiplier": 0.8}
        | {"mlp_multipliers": [0.5, 0.6], "embedding_multiplier": 2.0, "lm_head_multiplier": 0.3},
    ),
    ("minimax", {"full_attn_alpha_factor": 0.7, "full_attn_beta_factor": 1.3, "mlp_alpha_factor": 0.6}),
    ("codegen", {"n_head": 8}),
    ("bloom", {"n_head": 6, "hidden_size": 96}),
    ("mpt", {"attn_config": {"clip_qkv": 0.5}}),
    ("mpt", {"attn_config": {"softmax_scale": 0.4, "alibi_bias_max": 4}}),
    ("gpt_neo", {"attention_types": [[["local"], 3]]}),
    ("falcon", {"multi_query": False, "num_kv_heads": 4, "bias": True, "parallel_attn": False}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    ("falcon", FALCON_ALIBI),
    ("falcon", FALCON_ALIBI | {"attn_implementation": "eager"}),
]
"""Settings of published models that their types' defaults lack."""


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert (actual - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def test_the_page_has_every_type() -> None:
    assert list(ROWS) == zoo.DECODERS
    assert len(OPENING) >= 120


@pytest.mark.parametrize("model_type", zoo.DECODERS)
def test_a_type_equals_raw_pytorch_or_is_refused_as_the_page_says(model_type: str) -> None:
    hf = zoo.tiny(model_type)
    try:
        model = load_model(hf, tokenizer=TOKENIZER)
    except InputError as error:
        row = models_page.row_of_error(model_type, error)
    else:
        row = models_page.row_of_model(model_type, model)
        equals_raw_pytorch(hf, model)
    assert row == ROWS[model_type], "write the page again, see tests/reference/models_page.py"


@pytest.mark.parametrize(("model_type", "settings"), VARIANTS, ids=str)
def test_published_settings_equal_raw_pytorch(model_type: str, settings: dict[str, object]) -> None:
    hf = zoo.tiny(model_type, **settings)
    # Large unscaled scores make rounding visible; experts do not run in float64.
    hf = hf.double() if model_type == "gemma4_text" else hf
    equals_raw_pytorch(hf, load_model(hf, tokenizer=TOKENIZER))


def equals_raw_pytorch(hf: PreTrainedModel, model: Model) -> None:
    plain, cache = model.run_with_cache(TOKENS)
    close(plain, hf(TOKENS, use_cache=False).logits)
    # Falcon's eager attention adds ALiBi twice, other than that which runs by default.
    alibi_once = getattr(hf.config, "alibi", False) and hf.config._attn_implementation == "sdpa"
    if hf.config.model_type not in WITHOUT_SINK and not alibi_once:
        patterns = [
            pattern
            for pattern in raw_hooks.eager_patterns(hf, TOKENS)
            if pattern is not None and pattern.dim() == 4 and pattern.shape[2:] == 2 * TOKENS.shape[1:]
        ]
        close(torch.stack([cache["pattern", layer] for layer in model.layers_with_heads]), torch.stack(patterns))
    equals_its_modules(hf, model, cache)
    equals_zeroed_weights(hf, model)
    equals_rows_alone(hf, model)
    equals_autograd(hf, model)
    for layer in model.anatomy.layers_with_experts()[:1]:
        equals_zeroed_expert(hf, model, layer)


def equals_its_modules(hf: PreTrainedModel, model: Model, cache: dict[str, Tensor]) -> None:
    """Values of modules are what they take and give; sums and products of them hold."""
    if model.reads_embedding:
        start = cache["hook_embed"] + cache.get("hook_pos_embed", 0)
        close(start, cache["blocks.0.hook_resid_pre"])
    for layer in model.layers_with_heads:
        if model.paths(layer).query:  # of a gate beside the query, hook_q has nothing
            queries, rotated = (cache[f"blocks.{layer}.attn.{name}"] for name in ("hook_q", "hook_rot_q"))
            assert queries.shape == rotated.shape
    blocks = hf.get_submodule(model.family.layers)
    projections = {layer: blocks[layer].get_submodule(model.paths(layer).output) for layer in model.layers_with_heads}
    inputs = {path: hf.get_submodule(path) for path in projections_in(model)}
    taken = taken_and_given(hf, [*blocks, *projections.values(), *inputs.values()])
    equals_projections(model, cache, {path: taken[module][1] for path, module in inputs.items()})
    for layer, block in enumerate(blocks):
        before, after = taken[block]
        close(cache[f"blocks.{layer}.hook_resid_pre"], before)
        close(cache[f"blocks.{layer}.hook_resid_post"], after)
        names = ("hook_attn_out", "hook_mlp_out", "hook_beside_out")
        attention, mlp, rest = (cache.get(f"blocks.{layer}.{name}", 0.0) for name in names)
        if model.variant.post_norm:
            norm_1, norm_2 = (
                block.get_submodule(model.paths(layer).norm_1),
                block.get_submodule(model.paths(layer).norm_2),
            )
            close(norm_2(norm_1(before + attention) + mlp), after)
        else:
            family = model.paths(layer)
            before = parts.times(block, family, 0, before) + attention + rest
            close(parts.times(block, family, 1, before) + mlp, after)
    for layer, projection in projections.items():
        z, _ = taken[projection]
        close(cache[f"blocks.{layer}.attn.hook_z"].flatten(2), z)
        heads = raw_hooks.heads(z, model.sizes.n_heads)
        matrix = projection.weight.T if isinstance(projection, nn.Linear) else projection.weight
        result = torch.einsum("bphd,hdm->bphm", heads, matrix.unflatten(0, (model.sizes.n_heads, -1)))
        close(
            cache[f"blocks.{layer}.attn.hook_result"],
            result * model.variant.residual_factor * model.paths(layer).attention_factor,
        )


def projections_in(model: Model) -> list[str]:
    """Return the paths of the projections that give queries, keys and values."""
    families = {f"{model.family.layers}.{layer}": model.paths(layer) for layer in model.layers_with_heads}
    return [
        f"{block}.{path}"
        for block, family in families.items()
        for path in dict.fromkeys((family.query, family.key, family.value, family.fused))
        if path
    ]


def equals_projections(model: Model, cache: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Queries, keys and values are what the projections give, split by heads: before norms, rotation and scaling."""
    n_heads, n_kv_heads = model.sizes.n_heads, model.sizes.n_kv_heads
    for layer in model.layers_with_heads:
        family, root = model.paths(layer), f"{model.family.layers}.{layer}"
        q, k, v = (cache.get(f"blocks.{layer}.attn.hook_{name}") for name in "qkv")
        for value, path, heads in ((q, family.query, n_heads), (k, family.key, n_kv_heads), (v, family.value, 0)):
            if not path or value is None:
                continue
            split = given[f"{root}.{path}"].unflatten(-1, (heads or value.shape[2], -1))
            close(value.flatten(2), split[..., : value.shape[-1]].flatten(-2).view_as(value.flatten(2)))
        if family.fused:
            groups = (family.fused_groups or n_kv_heads) if family.fused_layout == "interleaved" else 1
            parts_of = {"q": q, "k": k, "v": v}
            grouped = [parts_of[name].flatten(2).unflatten(-1, (groups, -1)) for name in family.fused_order]
            close(torch.cat(grouped, -1).flatten(2), given[f"{root}.{family.fused}"].view(*q.shape[:2], -1))


def taken_and_given(hf: PreTrainedModel, modules: list[nn.Module]) -> dict[nn.Module, tuple[Tensor, Tensor]]:
    """Return the input and the output of modules in one run."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def record(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        seen[module] = ((args[0] if args else kwargs["hidden_states"]).clone(), first.clone())

    handles = [module.register_forward_hook(record, with_kwargs=True) for module in modules]
    hf(TOKENS, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def equals_zeroed_weights(hf: PreTrainedModel, model: Model) -> None:
    """A head removed is its columns of W_O set to zero; a feed-forward network removed adds nothing."""
    layer = model.layers_with_heads[len(model.layers_with_heads) // 2]
    zeroed = deepcopy(hf)
    ffn = model.anatomy.layers_with_ffns()[0]
    blocks, paths = zeroed.get_submodule(model.family.layers), model.paths(ffn)
    projection = blocks[layer].get_submodule(model.paths(layer).output)
    weight = projection.weight if isinstance(projection, nn.Linear) else projection.weight.T
    width = weight.shape[1] // model.sizes.n_heads
    weight[:, width : 2 * width] = 0
    if paths.mlp_added:
        blocks[ffn].get_submodule(paths.mlp_added).register_forward_hook(_with_first(torch.zeros_like))
    else:  # what a block gives is then the residual stream that its second norm reads
        streams: list[Tensor] = []
        blocks[ffn].get_submodule(paths.norm_2).register_forward_pre_hook(lambda module, args: streams.append(args[0]))
        blocks[ffn].register_forward_hook(_with_first(lambda output: streams[-1]))
    with masked(model, heads=[(layer, 1)], ffns=[ffn]):
        close(model(TOKENS), zeroed(TOKENS, use_cache=False).logits)


def equals_zeroed_expert(hf: PreTrainedModel, model: Model, layer: int) -> None:
    """An expert removed is its weights set to zero; the hook shows what the router gave."""
    zeroed = deepcopy(hf)
    path = f"{model.family.layers}.{layer}.{model.paths(layer).experts}"
    given: list[tuple[Tensor, ...]] = []
    handle = hf.get_submodule(path).register_forward_pre_hook(lambda module, args: given.append(args))
    hf(TOKENS, use_cache=False)
    handle.remove()
    _, chosen, weights = given[0]
    hook = f"blocks.{layer}.mlp.hook_router"
    shown = model.run_with_cache(TOKENS, names=[hook])[1][hook].flatten(0, 1)
    close(shown.gather(1, chosen), weights)
    assert shown.count_nonzero() == weights.count_nonzero()
    expert = int(chosen[0, 0])
    for weight in zeroed.get_submodule(path).parameters():
        weight.unflatten(0, (model.sizes.n_experts, -1))[expert] = 0
    hook = f"blocks.{layer}.mlp.hook_expert_out"
    outputs = model.run_with_cache(TOKENS, names=[hook])[1][hook].flatten(0, 1)
    whole, rest = (each.get_submodule(path)(*given[0]).flatten(0, -2) for each in (hf, zeroed))
    close(outputs.sum(1), whole)
    close(outputs[:, expert], whole - rest)
    with masked(model, experts=[(layer, expert)]):
        close(model(TOKENS), zeroed(TOKENS, use_cache=False).logits)


def _with_first(change):
    def hook(module, args, output):
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return hook


def equals_rows_alone(hf: PreTrainedModel, model: Model) -> None:
    """Padded rows, and requests of one context, have the numbers that each has alone."""
    alone = hf(TOKENS[1:, :14], use_cache=False).logits[0]
    for side, real in (("left", slice(6, None)), ("right", slice(None, 14))):
        padded, mask = torch.full_like(TOKENS, 3), torch.zeros_like(TOKENS)
        padded[0], mask[0] = TOKENS[0], 1
        padded[1, real], mask[1, real] = TOKENS[1, :14], 1
        if side in model.padding:
            close(model(padded, attention_mask=mask)[1, real], alone)
        else:
            with pytest.raises(InputError, match=f"reads padding on the {side}"):
                model(padded, attention_mask=mask)
    ids = TOKENS[0].tolist()
    requests = [EncodedRequest((*ids[:12], *rest), 12) for rest in (ids[12:15], ids[15:19], ids[3:5])]
    (scores,) = log_likelihoods(model, [requests])
    expected = [log_likelihood(hf, list(request.ids), request.start) for request in requests]
    close(torch.tensor([score.log_p for score in scores]), torch.tensor(expected))


def equals_autograd(hf: PreTrainedModel, model: Model) -> None:
    """Signed importance is the derivative of the loss by a factor on each head's input of W_O."""
    request = encode(TOKENIZER, EXAMPLE.context, EXAMPLE.continuation, longest=100)
    factors = torch.ones(len(model.layers_with_heads), model.sizes.n_heads, requires_grad=True)
    handles = []
    for factor, layer in zip(factors, model.layers_with_heads, strict=True):
        projection = hf.get_submodule(f"{model.family.layers}.{layer}.{model.paths(layer).output}")

        def scale(module: nn.Module, args: tuple[Tensor], factor: Tensor = factor) -> tuple[Tensor]:
            return (args[0] * factor.repeat_interleave(args[0].shape[-1] // model.sizes.n_heads),)

        handles.append(projection.register_forward_pre_hook(scale))
    ids = list(request.ids)
    log_p = hf(torch.tensor([ids[:-1]]), use_cache=False).logits[0].log_softmax(-1)
    places = range(request.start, len(ids))
    loss = -torch.stack([log_p[place - 1, ids[place]] for place in places]).mean()
    (expected,) = torch.autograd.grad(loss, factors)
    for handle in handles:
        handle.remove()
    values = head_importance(model, [EXAMPLE], reduction="signed").values
    close(values[model.layers_with_heads], expected)
    others = [layer for layer in range(model.sizes.n_layers) if layer not in model.layers_with_heads]
    assert values[others].isnan().all()
