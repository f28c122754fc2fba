"""Activations read and replaced by hand: with PyTorch's own hooks, module by module.

Where no module holds a value (the pattern, the heads' separate results, the residual stream between attention and
feed-forward network, a normalised input), the consequences of an edit are computed in plain formulas, up to the next
value that a module holds.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Edit = Callable[[Tensor], Tensor]


class Layout(NamedTuple):
    """Module paths of one architecture, those below `blocks` within a block."""

    embed: str
    blocks: str
    ln1: str
    query: str
    key: str
    value: str
    output: str
    attn_out: str
    ln2: str
    mlp_in: tuple[str, ...]  # the modules from the residual stream to the first hidden values
    pre: str
    post: str  # whose input is what the activation function gave
    mlp_out: str


LLAMA = Layout(
    "model.embed_tokens",
    "model.layers",
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    ("post_attention_layernorm", "mlp"),
    "mlp.gate_proj",
    "mlp.down_proj",
    "mlp",
)
GEMMA = LLAMA._replace(
    attn_out="post_attention_layernorm",
    ln2="pre_feedforward_layernorm",
    mlp_in=("pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm"),
    mlp_out="post_feedforward_layernorm",
)
OPT = Layout(
    "model.decoder.embed_tokens",
    "model.decoder.layers",
    "self_attn_layer_norm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "self_attn.out_proj",
    "final_layer_norm",
    ("final_layer_norm", "fc1", "activation_fn", "fc2"),
    "fc1",
    "fc2",
    "fc2",
)
GPT2 = Layout(
    "transformer.wte",
    "transformer.h",
    "ln_1",
    "attn.c_attn",
    "attn.c_attn",
    "attn.c_attn",
    "attn.c_proj",
    "attn.c_proj",
    "ln_2",
    ("ln_2", "mlp"),
    "mlp.c_fc",
    "mlp.c_proj",
    "mlp",
)
GPT_NEOX = Layout(
    "gpt_neox.embed_in",
    "gpt_neox.layers",
    "input_layernorm",
    "attention.query_key_value",
    "attention.query_key_value",
    "attention.query_key_value",
    "attention.dense",
    "attention.dense",
    "post_attention_layernorm",
    ("post_attention_layernorm", "mlp"),
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
    "mlp",
)
LAYOUTS = {"opt": OPT, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "gemma2": GEMMA, "gemma3_text": GEMMA}


def layout(model: PreTrainedModel) -> Layout:
    paths = LAYOUTS.get(model.config.model_type, LLAMA)
    if model.config.model_type == "opt" and model.model.decoder.project_in is not None:
        return paths._replace(embed="model.decoder.project_in")
    return paths


def block(model: PreTrainedModel, layer: int) -> nn.Module:
    return model.get_submodule(layout(model).blocks)[layer]


def is_post_norm(model: PreTrainedModel) -> bool:
    return not getattr(model.config, "do_layer_norm_before", True)


def is_parallel(model: PreTrainedModel) -> bool:
    return model.config.model_type == "gpt_neox" and model.config.use_parallel_residual


def block_hooks(model: PreTrainedModel) -> list[str]:
    """The hook names of a block that these functions know, in execution order."""
    norm = ["ln1.hook_normalized"]
    attention = ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_pattern", "attn.hook_z", "attn.hook_result"]
    first = [*attention, "hook_attn_out", *norm] if is_post_norm(model) else [*norm, *attention, "hook_attn_out"]
    mid = [] if is_parallel(model) else ["hook_resid_mid"]
    return ["hook_resid_pre", *first, *mid, "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]


def hooks(model: PreTrainedModel) -> list[str]:
    names = block_hooks(model)
    return [
        "hook_embed",
        *(f"blocks.{layer}.{name}" for layer in range(model.config.num_hidden_layers) for name in names),
    ]


# --- reading


@torch.no_grad()
def read(model: PreTrainedModel, tokens: Tensor) -> dict[str, Tensor]:
    """Every hook's value."""
    values = {"hook_embed": run_and_take(model, tokens, model.get_submodule(layout(model).embed), "out")}
    patterns = eager_patterns(model, tokens)
    for layer in range(model.config.num_hidden_layers):
        for name in block_hooks(model):
            values[f"blocks.{layer}.{name}"] = (
                patterns[layer] if name == "attn.hook_pattern" else value(model, tokens, layer, name)
            )
    return values


def value(model: PreTrainedModel, tokens: Tensor, layer: int, name: str) -> Tensor:
    """One hook's value in one block."""
    paths, this_block = layout(model), block(model, layer)

    def take(path: str, side: str) -> Tensor:
        return run_and_take(model, tokens, this_block.get_submodule(path), side)

    batch, pos = tokens.shape
    match name:
        case "hook_resid_pre":
            return take("", "in")
        case "hook_resid_post":
            return take("", "out")
        case "ln1.hook_normalized":
            return normalised(model, take(paths.ln1, "in"))
        case "attn.hook_q":
            return split_qkv(model, take(paths.query, "out"))[0]
        case "attn.hook_k":
            return split_qkv(model, take(paths.key, "out"))[1]
        case "attn.hook_v":
            return split_qkv(model, take(paths.value, "out"))[2]
        case "attn.hook_pattern":
            return eager_patterns(model, tokens)[layer]
        case "attn.hook_z":
            return heads(take(paths.output, "in"), model.config.num_attention_heads)
        case "attn.hook_result":
            return results(model, layer, heads(take(paths.output, "in"), model.config.num_attention_heads))
        case "hook_attn_out":
            return take(paths.attn_out, "out")
        case "hook_resid_mid":  # what comes after it reads it
            reader = paths.ln2 if not is_post_norm(model) else paths.pre
            return take(reader, "in").reshape(batch, pos, -1)
        case "mlp.hook_pre":
            return take(paths.pre, "out").reshape(batch, pos, -1)
        case "mlp.hook_post":
            return take(paths.post, "in").reshape(batch, pos, -1)
        case "hook_mlp_out":
            return take(paths.mlp_out, "out").reshape(batch, pos, -1)
    raise KeyError(name)


def run_and_take(model: PreTrainedModel, tokens: Tensor, module: nn.Module, side: str) -> Tensor:
    """Run the model and return a module's input or output."""
    seen = []

    def record(_: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        source = (args[0] if args else kwargs["hidden_states"]) if side == "in" else output
        seen.append((source[0] if isinstance(source, tuple) else source).clone())

    handle = module.register_forward_hook(record, with_kwargs=True)
    with torch.no_grad():
        model(tokens, use_cache=False)
    handle.remove()
    return seen[0]


def eager_patterns(model: PreTrainedModel, tokens: Tensor) -> tuple[Tensor, ...]:
    copy = deepcopy(model)
    copy.set_attn_implementation("eager")
    copy.config._attn_implementation = "eager"  # Falcon looks there, and ignores the call
    with torch.no_grad():
        return copy(tokens, use_cache=False, output_attentions=True).attentions


def heads(x: Tensor, n_heads: int) -> Tensor:
    """Turn [batch, pos, head·d_head] into [batch, pos, head, d_head]."""
    return torch.stack(x.chunk(n_heads, dim=-1), dim=-2)


def split_qkv(model: PreTrainedModel, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in a projection's output; for the projection of one of them, only that one is right."""
    n_heads = model.config.num_attention_heads
    n_kv_heads = getattr(model.config, "num_key_value_heads", None) or n_heads
    if model.config.model_type == "gpt2":
        q, k, v = x.chunk(3, dim=-1)
        return heads(q, n_heads), heads(k, n_heads), heads(v, n_heads)
    if model.config.model_type == "gpt_neox":  # each head's query, key and value side by side
        return heads(x, n_heads).chunk(3, dim=-1)
    return heads(x, n_heads), heads(x, n_kv_heads), heads(x, n_kv_heads)


def join_qkv(model: PreTrainedModel, raw: Tensor, which: int, edited: Tensor) -> Tensor:
    """The output of the projection in which queries, keys or values are the edited ones."""
    if model.config.model_type == "gpt2":
        parts = list(raw.chunk(3, dim=-1))
        parts[which] = edited.flatten(-2)
        return torch.cat(parts, dim=-1)
    if model.config.model_type == "gpt_neox":
        parts = list(heads(raw, model.config.num_attention_heads).chunk(3, dim=-1))
        parts[which] = edited
        return torch.cat(parts, dim=-1).flatten(-2)
    return edited.flatten(-2)


def results(model: PreTrainedModel, layer: int, z: Tensor) -> Tensor:
    """The contribution of each head: the projection of z with all other heads at zero, minus that of zeros."""
    project = block(model, layer).get_submodule(layout(model).output).forward  # past the hooks on it
    nothing = project(torch.zeros_like(z).flatten(-2))
    alone = []
    for head in range(z.shape[-2]):
        only = torch.zeros_like(z)
        only[..., head, :] = z[..., head, :]
        alone.append(project(only.flatten(-2)) - nothing)
    return torch.stack(alone, dim=-2)


def epsilon(model: PreTrainedModel) -> float:
    names = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")
    return next((getattr(model.config, name) for name in names if hasattr(model.config, name)), 1e-5)


def normalised(model: PreTrainedModel, x: Tensor) -> Tensor:
    if hasattr(model.config, "rms_norm_eps"):
        return x / (x.pow(2).mean(-1, keepdim=True) + epsilon(model)).sqrt()
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + epsilon(model)).sqrt()


def scaled(model: PreTrainedModel, norm: nn.Module, x: Tensor) -> Tensor:
    """A norm's gain and bias on an already normalised value."""
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if model.config.model_type.startswith("gemma"):
        gain = gain + 1
    return x * (1 if gain is None else gain) + (0 if bias is None else bias)


# --- writing


@contextmanager
def edited(model: PreTrainedModel, tokens: Tensor, name: str, edit: Edit) -> Iterator[None]:
    """Edit a hook's value in runs on these tokens inside the block.

    Edits nest; the first one in the forward pass is the outermost.
    """
    with ExitStack() as stack:
        for handle in register(model, tokens, name, edit):
            stack.callback(handle.remove)
        yield


def run_edited(model: PreTrainedModel, tokens: Tensor, edits: list[tuple[str, Edit]]) -> Tensor:
    """The logits with these edits, which are in the order of the forward pass."""
    with ExitStack() as stack, torch.no_grad():
        for name, edit in edits:
            stack.enter_context(edited(model, tokens, name, edit))
        return model(tokens, use_cache=False).logits


def register(model: PreTrainedModel, tokens: Tensor, name: str, edit: Edit) -> list:
    """Register PyTorch hooks that edit a hook's value, and return their handles."""
    if name == "hook_embed":
        return [on_output(model.get_submodule(layout(model).embed), edit)]
    layer, name = int(name.split(".")[1]), name.split(".", 2)[2]
    if name.startswith("attn."):
        return [register_in_attention(model, tokens, layer, name, edit)]
    paths, this_block = layout(model), block(model, layer)
    batch, pos = tokens.shape

    def flat(raw: Tensor) -> Tensor:
        """Edit where batch and position may be one axis."""
        return edit(raw.reshape(batch, pos, -1)).reshape(raw.shape)

    match name:
        case "hook_resid_pre":
            return [on_input(this_block, edit)]
        case "hook_resid_post":
            return [on_output(this_block, edit)]
        case "ln1.hook_normalized":
            norm = this_block.get_submodule(paths.ln1)
            return [replacing(norm, scaled(model, norm, edit(value(model, tokens, layer, name))))]
        case "hook_attn_out":
            return [on_output(this_block.get_submodule(paths.attn_out), edit)]
        case "hook_resid_mid":
            mid = edit(value(model, tokens, layer, name))
            return [on_output(this_block, lambda raw: rest_of_block(model, layer, mid))]
        case "mlp.hook_pre":
            return [on_output(this_block.get_submodule(paths.pre), flat)]
        case "mlp.hook_post":
            return [on_input(this_block.get_submodule(paths.post), flat)]
        case "hook_mlp_out":
            return [on_output(this_block.get_submodule(paths.mlp_out), flat)]
    raise KeyError(name)


def register_in_attention(model: PreTrainedModel, tokens: Tensor, layer: int, name: str, edit: Edit):
    paths, this_block = layout(model), block(model, layer)
    n_heads, output = model.config.num_attention_heads, this_block.get_submodule(paths.output)
    match name:
        case "attn.hook_q" | "attn.hook_k" | "attn.hook_v":
            which = "qkv".index(name[-1])
            module = this_block.get_submodule((paths.query, paths.key, paths.value)[which])
            return on_output(module, lambda raw: join_qkv(model, raw, which, edit(split_qkv(model, raw)[which])))
        case "attn.hook_pattern":
            values = value(model, tokens, layer, "attn.hook_v")
            of_heads = torch.stack([values[:, :, head * values.shape[2] // n_heads] for head in range(n_heads)], dim=1)
            z = edit(value(model, tokens, layer, name)) @ of_heads
            return on_input(output, lambda raw: z.transpose(1, 2).flatten(-2))
        case "attn.hook_z":
            return on_input(output, lambda raw: edit(heads(raw, n_heads)).flatten(-2))
        case "attn.hook_result":
            bias = output.forward(torch.zeros_like(value(model, tokens, layer, "attn.hook_z").flatten(-2)))
            return replacing(output, edit(value(model, tokens, layer, name)).sum(-2) + bias)
    raise KeyError(name)


def rest_of_block(model: PreTrainedModel, layer: int, mid: Tensor) -> Tensor:
    """The output of a block, given its residual stream after attention."""
    this_block, paths = block(model, layer), layout(model)
    if is_post_norm(model):
        return this_block.final_layer_norm(mid + this_block.fc2(this_block.activation_fn(this_block.fc1(mid))))
    branch = mid
    for path in paths.mlp_in:
        branch = this_block.get_submodule(path)(branch)
    return mid + branch


def on_output(module: nn.Module, edit: Edit):
    def replace(_: nn.Module, args: tuple, output: object) -> object:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    return module.register_forward_hook(replace)


def on_input(module: nn.Module, edit: Edit):
    def replace(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(replace, with_kwargs=True)


def replacing(module: nn.Module, output: Tensor):
    return on_output(module, lambda raw: output.reshape(raw.shape))
