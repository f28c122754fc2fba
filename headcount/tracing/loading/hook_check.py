"""Check of a model's hook map, at every load, with a few tokens.

Modules move and get new names between releases of transformers, and a model may do more than its family's entry says.
The check tests rules that hold in all of these architectures, and names the hook that breaks one.
"""

import warnings

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.cache import Cache
from headcount.tracing.hooks.hook import Hook, HookFunction, Zero
from headcount.tracing.hooks.modules import applied_matrix, output_bias
from headcount.tracing.hooks.ports import attention_operation
from headcount.tracing.loading.derived_check import check_derived, check_gate, continuations, shares_rows
from headcount.tracing.loading.rules import close, give_ones, is_precise, require, run_blocks, start_at
from headcount.tracing.model import Model


def check_operations(model: Model) -> None:
    """Check that the operations inside `forward` functions that hooks need are there.

    nnsight numbers operations by name, and the numbers change with transformers' source.

    Raises:
        InputError: An operation is not there.
    """
    for layer in range(model.sizes.n_layers):
        if not model.paths(layer).attention or model.paths(layer).scale:
            continue
        block = model.envoy(f"{model.family.layers}.{layer}")
        operation = attention_operation(model.envoy(f"{model.family.layers}.{layer}.{model.paths(layer).attention}"))
        if operation is None and (model.pruned is None or not model.pruned.heads[layer].all()):
            raise InputError(f"{model.name}: no call of an attention interface in layer {layer}'s attention module")
        if model.family.mid and not model.variant.parallel and model.family.mid not in block.source.names:
            names = ", ".join(block.source.names)
            raise InputError(f"{model.name}: hook_resid_mid needs operation {model.family.mid}; its block has {names}")


def check_hooks(model: Model) -> None:
    """Run a few tokens and check the values of all hooks.

    Patterns are causal and their rows sum to one; attention computed here gives the model's own logits; each block's
    parts sum to its output; queries, keys, values and gates are not mistaken for one another; a value that is put back
    unchanged changes no logit, and an edit of a pattern or of the residual stream changes some.

    Of some models only the shapes are checked: of one without weights; of one whose logits are all equal; of one that
    computes numbers that are not finite, which a warning reports; and of a pruned one in half precision: with most
    heads gone, rounding alone moves its logits by their own size.

    Raises:
        InputError: A hook breaks a rule; the message names the model and the hook.
    """
    tokens = _tokens(model)
    with torch.no_grad():
        if tokens.is_meta:
            _check_shapes(model, model.run_with_cache(tokens)[1], tokens.shape[1])
            return
        plain, *alone = _run(model, torch.cat([tokens, continuations(model, tokens)])).split(1)
        # In half precision rounding hides what a value that is put back changes.
        written = [(point.name, _clone) for point in model.hooks.find(lambda name: True)] if is_precise(model) else []
        logits, cache = model.run_with_cache(tokens, fwd_hooks=written)
        unlike = not close(model, logits, plain)
        # Again without what is put back, to see which of the two it is; or since norms, which round as float32 does,
        # then give other numbers than float64 tells apart.
        if unlike or model.dtype == torch.float64:
            logits, cache = model.run_with_cache(tokens)
        _check_shapes(model, cache, tokens.shape[1])
        if plain.min() == plain.max() and not model.derived:
            return
        if not plain.isfinite().all() or any(value.isnan().any() for value in cache.values()):
            warnings.warn(f"{model.name} {_not_finite(model)}: what depends on that is n/a", stacklevel=4)
            return
        if model.pruned is not None and not is_precise(model):
            return
        require(model, "attn.hook_pattern", "attention computed here gives other logits", logits, plain)
        for layer in range(model.sizes.n_layers):
            _check_block(model, cache, layer)
        if unlike:
            _check_write_back(model, tokens, plain, written)
        if layers := _whole_layers(model):
            if not model.derived:
                _check_projections(model, tokens, cache, layers[-1])
            _check_edits(model, tokens, plain, cache, layers[-1])
        model.shares_rows = shares_rows(model, alone)
        if model.derived and model.pruned is None:
            check_derived(model, tokens, plain, cache)


def _tokens(model: Model) -> Tensor:
    """Return a few tokens, not one of padding at an edge."""
    tokens = torch.arange(min(6, model.sizes.vocab, model.sizes.context), device=model.device)
    pad = getattr(model.hf.config if model.tokenizer is None else model.tokenizer, "pad_token_id", None)
    return tokens.roll(2 * (pad in (0, len(tokens) - 1)))[None]


def _run(model: Model, tokens: Tensor) -> Tensor:
    try:
        logits: Tensor = model.run_passes([model.pass_with(tokens)])[0]
        return logits
    except RuntimeError as error:  # such as parts of one layer on several devices
        reason = str(error).partition("\n")[0]
        raise InputError(f"{model.name} does not run where it was put ({reason:.200}): change device_map") from error


def _not_finite(model: Model) -> str:
    """Return a clause with the source of a model's NaN or infinities, as far as its weights tell."""
    for name, weight in model.hf.named_parameters():
        if count := int((~weight.isfinite()).sum()):
            return f"has {count} of {weight.numel()} weights in {name} that are NaN or infinite"
    return f"computes NaN or infinities in {str(model.dtype).removeprefix('torch.')}"


def _whole_layers(model: Model) -> list[int]:
    """Return the layers that have heads, and of which no part was pruned."""
    lost = [] if model.pruned is None else (model.pruned.heads.any(1) | model.pruned.ffns).nonzero().flatten().tolist()
    return [layer for layer in model.layers_with_heads if layer not in lost]


def _check_shapes(model: Model, cache: Cache, pos: int) -> None:
    s = model.sizes
    shapes = {
        "attn.hook_pattern": (1, s.n_heads, pos, pos),
        "attn.hook_result": (1, pos, s.n_heads, s.d_model),
        "mlp.hook_post": (1, pos, s.d_mlp),
        "hook_resid_pre": (1, pos, s.d_model),
        "hook_attn_out": (1, pos, s.d_model),
        "hook_mlp_out": (1, pos, s.d_model),
        "hook_resid_post": (1, pos, s.d_model),
    }
    if not model.derived:  # otherwise widths may differ from layer to layer
        kv_heads, heads = (1, pos, s.n_kv_heads, s.d_head), (1, pos, s.n_heads, s.d_head)
        shapes |= {"attn.hook_q": heads, "attn.hook_k": kv_heads, "attn.hook_v": kv_heads, "attn.hook_z": heads}
    expected = {f"blocks.{layer}.{name}": shape for layer in range(s.n_layers) for name, shape in shapes.items()}
    for name, shape in ({"hook_embed": (1, pos, s.d_model)} | expected).items():
        if name not in model.hooks.lost and cache[name].shape != shape:
            raise InputError(f"{model.name}: {name} should be {list(shape)}, but is {list(cache[name].shape)}")


def _check_block(model: Model, cache: Cache, layer: int) -> None:
    """Check that a block's parts sum to its output, and the block's heads."""
    block = f"blocks.{layer}."
    if block + "attn.hook_pattern" in model.hooks:
        _check_heads(model, cache, layer)
    if layer + 1 < model.sizes.n_layers:
        name, rule = block + "hook_resid_post", "must be what the next block reads"
        require(model, name, rule, cache[name], cache[f"blocks.{layer + 1}.hook_resid_pre"])
    if model.variant.post_norm:
        _check_norms_after_sums(model, cache, layer)
        return
    only = model.paths(layer).only
    if only:
        part = cache[block + ("hook_mlp_out" if only == "mlp" else "hook_attn_out")]
        total, rule = cache[block + "hook_resid_pre"] + part, "must be the sum of its block's one part and its input"
        require(model, block + "hook_resid_post", rule, cache[block + "hook_resid_post"], total)
        return
    mid = _multiple(model, layer, 0, cache[block + "hook_resid_pre"]) + cache[block + "hook_attn_out"]
    if model.paths(layer).beside:
        mid = mid + cache[block + "hook_beside_out"]
    if not model.variant.parallel:
        rule = "must be hook_resid_pre + hook_attn_out"
        require(model, block + "hook_resid_mid", rule, cache[block + "hook_resid_mid"], mid)
    _check_mlp(model, cache, layer)
    post = _multiple(model, layer, 1, mid) + cache[block + "hook_mlp_out"]
    rule = "must be the sum of its block's parts"
    require(model, block + "hook_resid_post", rule, cache[block + "hook_resid_post"], post)


def _multiple(model: Model, layer: int, step: int, stream: Tensor) -> Tensor:
    """Return what becomes of the residual stream before attention (0), or the network (1), adds to it."""
    family = model.paths(layer)
    gain = family.stream_gains[step]
    if family.norms_in_stream:
        stream = model.block(layer).get_submodule((family.norm_1, family.norm_2)[step])(stream)
    return stream * (model.block(layer).get_parameter(gain) if gain else family.stream_factors[step])


def _check_norms_after_sums(model: Model, cache: Cache, layer: int) -> None:
    """Check that the residual stream is a norm of the sum with attention, and then of that with the network."""
    block, family = f"blocks.{layer}.", model.paths(layer)
    steps = [("hook_resid_pre", "hook_attn_out", family.norm_1, "hook_resid_mid")]
    steps += [("hook_resid_mid", "hook_mlp_out", family.norm_2, "hook_resid_post")]
    for stream, added, norm, result in steps:
        module = model.envoy(f"{model.family.layers}.{layer}.{norm}")._module
        expected = module(cache[block + stream] + cache[block + added])
        require(model, block + result, f"must be a norm of {stream} + {added}", cache[block + result], expected)


def _check_mlp(model: Model, cache: Cache, layer: int) -> None:
    """Check that the network's hooks show all of it: a mixture of experts may have a part that looks like the whole."""
    family, block = model.paths(layer), f"blocks.{layer}.mlp.hook_post"
    whole = family.mlp_added == family.mlp_out or family.mlp_out.startswith(f"{family.mlp_added}.")
    if not whole or block not in model.hooks:
        return
    projection = model.envoy(f"{family.layers}.{layer}.{family.mlp_out}")._module
    out = cache[block] @ applied_matrix(projection, cache[block]).to(cache[block].dtype) + output_bias(projection)
    out = out * (model.variant.residual_factor * family.mlp_factor)
    require(model, block, "times W_out must be hook_mlp_out", out, cache[f"blocks.{layer}.hook_mlp_out"])


def _check_heads(model: Model, cache: Cache, layer: int) -> None:
    block = f"blocks.{layer}."
    hook = block + "attn.hook_pattern"
    pattern = cache[hook].float()
    attention = model.envoy(f"{model.family.layers}.{layer}.{model.paths(layer).attention}")._module
    total = pattern.sum(-1)
    if any("sink" in name for name, _ in attention.named_parameters()):
        require(model, hook, "rows must not sum to more than one", total.clamp(max=1.0), total)
    else:
        require(model, hook, "rows must sum to one", total, torch.ones_like(total))
    require(model, hook, "must be causal", pattern.triu(1), torch.zeros_like(pattern))
    projection = model.envoy(f"{model.family.layers}.{layer}.{model.paths(layer).output}")._module
    if model.paths(layer).attention_added == model.paths(layer).output:
        bias = output_bias(projection) * (model.variant.residual_factor * model.paths(layer).attention_factor)
        total = cache[block + "attn.hook_result"].sum(-2) + bias
        rule = "heads must sum to hook_attn_out"
        require(model, block + "attn.hook_result", rule, total, cache[block + "hook_attn_out"])


def _check_projections(model: Model, tokens: Tensor, cache: Cache, layer: int) -> None:
    """Check by edits that queries, values and gates are what they are called: their shapes may be equal."""
    block = f"blocks.{layer}."
    edits: dict[str, HookFunction] = {"attn.hook_q": Zero(), "attn.hook_v": give_ones, "mlp.hook_pre": give_ones}
    names = ["attn.hook_rot_q", "attn.hook_z", "mlp.hook_pre_linear", "mlp.hook_post"]
    edited = run_blocks(model, tokens, cache, [layer], edits, names)
    rotated, z = edited[block + "attn.hook_rot_q"], edited[block + "attn.hook_z"]
    require(model, block + "attn.hook_q", "queries of zero must stay zero", rotated, torch.zeros_like(rotated))
    rule = "with values of one, attention must return one"
    require(model, block + "attn.hook_v", rule, z, torch.ones_like(z))
    check_gate(model, edited, layer)


def _check_write_back(model: Model, tokens: Tensor, plain: Tensor, written: list[tuple[str, HookFunction]]) -> None:
    """Refuse a model in which one of the values that are put back unchanged changes the logits."""
    for name, function in written:
        rule = "put back unchanged, it changes the logits"
        require(model, name, rule, model.run_with_hooks(tokens, [(name, function)]), plain)


def _check_edits(model: Model, tokens: Tensor, plain: Tensor, cache: Cache, layer: int) -> None:
    """Check that edits of a late block reach the logits."""
    block = f"blocks.{layer}."
    only = model.paths(layer).only
    edits: dict[str, HookFunction] = {"hook_attn_out" if only == "attention" else "hook_mlp_out": _twice_plus_one}
    if cache[block + "attn.hook_result"].any():  # else the heads add nothing, and no edit of theirs shows
        edits |= {"attn.hook_pattern": _first_key_only, "attn.hook_z": _twice_plus_one}
    if not (model.variant.parallel or only):
        edits["hook_resid_mid"] = _twice_plus_one
    # All in one run, each in a row of its own; alone where a row differs from the first by no more than rounding could.
    rows = tokens.repeat(1 + len(edits), 1)
    hooks = [(block + name, _InRow(row, edit)) for row, (name, edit) in enumerate(edits.items(), start=1)]
    start = start_at(layer, cache[block + "hook_resid_pre"])
    whole, *edited = model.run_with_hooks(rows, [*start, *hooks])
    for (name, edit), logits in zip(edits.items(), edited, strict=True):
        if (logits - whole).abs().max() > 1e-3 * plain.abs().max().clamp(min=1.0):
            continue
        if torch.equal(model.run_with_hooks(tokens, [(block + name, edit)]), model.run_with_hooks(tokens)):
            raise InputError(f"{model.name}: an edit of {block}{name} does not reach the logits")


class _InRow:
    """Edits one row of a batch.

    Args:
        row: The row.
        edit: The hook that edits a value.
    """

    def __init__(self, row: int, edit: HookFunction) -> None:
        self.row, self.edit = row, edit

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        edited = value.clone()
        edited[self.row] = self.edit(value[self.row], hook)
        return edited


def _clone(value: Tensor, hook: Hook) -> Tensor:
    return value.clone()


def _twice_plus_one(value: Tensor, hook: Hook) -> Tensor:
    return 2 * value + 1


def _first_key_only(pattern: Tensor, hook: Hook) -> Tensor:
    edited = torch.zeros_like(pattern)
    edited[..., 0] = 1
    return edited
