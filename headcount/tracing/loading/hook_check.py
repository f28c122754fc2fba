"""Check of a model's hook map, at every load, with a few tokens.

Modules move and get new names between releases of transformers, and a model may do more than its family's entry says.
The check tests rules that hold in all of these architectures, and names the hook that breaks one.
"""

import warnings

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.cache import Cache
from headcount.tracing.hooks.hook import Hook, HookFunction, RecordValue, Zero
from headcount.tracing.hooks.modules import matrix, output_bias
from headcount.tracing.hooks.ports import attention_operation
from headcount.tracing.model import Model

# Relative to the largest magnitude compared: the check adds numbers in another order than the model.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
# In half precision, single logits move by a fifth over thirty layers; relative to the norm of all of them.
_HALF_TOLERANCE = 0.2


def check_operations(model: Model) -> None:
    """Check that the operations inside `forward` functions that hooks need are there.

    nnsight numbers operations by name, and the numbers change with transformers' source.

    Raises:
        InputError: An operation is not there.
    """
    for layer in range(model.sizes.n_layers):
        block = model.envoy(f"{model.family.layers}.{layer}")
        operation = attention_operation(model.envoy(f"{model.family.layers}.{layer}.{model.family.attention}"))
        if operation is None and (model.pruned is None or not model.pruned.heads[layer].all()):
            raise InputError(f"{model.name}: no call of an attention interface in layer {layer}'s attention module")
        if not model.variant.parallel and model.family.mid not in block.source.names:
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
        plain = _run(model, tokens)
        logits, cache = model.run_with_cache(tokens)
        _check_shapes(model, cache, tokens.shape[1])
        if plain.min() == plain.max():
            return
        if not plain.isfinite().all() or any(value.isnan().any() for value in cache.values()):
            warnings.warn(f"{model.name} {_not_finite(model)}: what depends on that is n/a", stacklevel=4)
            return
        if model.pruned is not None and model.dtype not in _TOLERANCE:
            return
        _require(model, "attn.hook_pattern", "attention computed here gives other logits", logits, plain)
        for layer in range(model.sizes.n_layers):
            _check_block(model, cache, layer)
        if model.dtype in _TOLERANCE:
            _check_write_back(model, tokens, plain)
        if layers := _whole_layers(model):
            _check_projections(model, tokens, layers[-1])
            _check_edits(model, tokens, plain, cache, layers[-1])
        model.shares_rows = _shares_rows(model)
        if model.derived:
            _check_both_ends(model, tokens, plain, cache)
            _check_late_start(model, tokens, plain, cache)


def _tokens(model: Model) -> Tensor:
    """Return a few tokens, not one of padding at an edge."""
    tokens = torch.arange(min(6, model.sizes.vocab, model.sizes.context), device=model.device)
    pad = getattr(model.hf.config if model.tokenizer is None else model.tokenizer, "pad_token_id", None)
    return tokens.roll(2 * (pad in (0, len(tokens) - 1)))[None]


def _run(model: Model, tokens: Tensor) -> Tensor:
    try:
        return model(tokens)
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
    """Return the layers of which no part was pruned."""
    if model.pruned is None:
        return list(range(model.sizes.n_layers))
    return (~(model.pruned.heads.any(1) | model.pruned.ffns)).nonzero().flatten().tolist()


def _check_shapes(model: Model, cache: Cache, pos: int) -> None:
    s = model.sizes
    shapes = {
        "attn.hook_q": (1, pos, s.n_heads, s.d_head),
        "attn.hook_k": (1, pos, s.n_kv_heads, s.d_head),
        "attn.hook_v": (1, pos, s.n_kv_heads, s.d_head),
        "attn.hook_z": (1, pos, s.n_heads, s.d_head),
        "attn.hook_pattern": (1, s.n_heads, pos, pos),
        "attn.hook_result": (1, pos, s.n_heads, s.d_model),
        "mlp.hook_post": (1, pos, s.d_mlp),
        "hook_resid_pre": (1, pos, s.d_model),
        "hook_attn_out": (1, pos, s.d_model),
        "hook_mlp_out": (1, pos, s.d_model),
        "hook_resid_post": (1, pos, s.d_model),
    }
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
        _require(model, name, rule, cache[name], cache[f"blocks.{layer + 1}.hook_resid_pre"])
    if model.variant.post_norm:
        return
    mid = cache[block + "hook_resid_pre"] + cache[block + "hook_attn_out"]
    if not model.variant.parallel:
        rule = "must be hook_resid_pre + hook_attn_out"
        _require(model, block + "hook_resid_mid", rule, cache[block + "hook_resid_mid"], mid)
    _check_mlp(model, cache, layer)
    post = mid + cache[block + "hook_mlp_out"]
    rule = "must be the sum of its block's parts"
    _require(model, block + "hook_resid_post", rule, cache[block + "hook_resid_post"], post)


def _check_both_ends(model: Model, tokens: Tensor, plain: Tensor, cache: Cache) -> None:
    """Check that the embedding goes unchanged into block 0, and that logits are W_U's, up to a factor.

    Where one is normed or capped, W_E and W_U are not what scores from the weights take them for.
    """
    if not (model.family.pos_embed or model.family.project_in):
        rule = "must be hook_embed"
        _require(model, "blocks.0.hook_resid_pre", rule, cache["blocks.0.hook_resid_pre"], cache["hook_embed"])
    given: list[Tensor] = []
    handle = model.hf.get_output_embeddings().register_forward_hook(lambda module, args, output: given.append(output))
    try:
        model.hf(input_ids=tokens, use_cache=False)
    finally:
        handle.remove()
    factor = (plain.double() * given[0]).sum() / given[0].double().square().sum()
    rule = "logits must be what the unembedding gives, or in proportion to it"
    _require(model, "unembed", rule, given[0] * factor.clamp(min=1e-6), plain)


def _check_late_start(model: Model, tokens: Tensor, plain: Tensor, cache: Cache) -> None:
    """Check that blocks hand on nothing but the residual stream: the oracles start in the middle."""
    last = model.sizes.n_layers - 1
    stream = cache[f"blocks.{last}.hook_resid_pre"]
    hooks = [(f"blocks.{layer}.skip", lambda value, hook: stream) for layer in range(last)]
    rule = "a start at this block must give the same logits"
    _require(model, f"blocks.{last}.hook_resid_pre", rule, model.run_with_hooks(tokens, hooks), plain)


def _check_mlp(model: Model, cache: Cache, layer: int) -> None:
    """Check that the network's hooks show all of it: a mixture of experts may have a part that looks like the whole."""
    family, block = model.family, f"blocks.{layer}.mlp.hook_post"
    whole = family.mlp_added == family.mlp_out or family.mlp_out.startswith(f"{family.mlp_added}.")
    if not whole or block not in model.hooks:
        return
    projection = model.envoy(f"{family.layers}.{layer}.{family.mlp_out}")._module
    out = cache[block] @ matrix(projection).to(cache[block].dtype) + output_bias(projection)
    _require(model, block, "times W_out must be hook_mlp_out", out, cache[f"blocks.{layer}.hook_mlp_out"])


def _shares_rows(model: Model) -> bool:
    """Return True if two continuations of one context, in one row with a mask, have the logits that each has alone.

    They do not where a layer looks at the tokens before it other than by masked attention, or where positions enter
    attention by the place in the row. A few tokens do not reach beyond windows and chunks: of the known types only
    `sliding_window` has some, which `document_trees` looks at; of another, any setting of that kind is taken as one.
    """
    if model.derived and any(
        ("window" in name or "chunk" in name) and name != "sliding_window" and type(value) is int and value > 0
        for name, value in model.hf.config.to_dict().items()
    ):
        return False
    context, branches = [3, 5, 4], ([6, 3], [4, 6])
    if model.sizes.vocab <= 6 or model.sizes.context < 7 or model.dtype not in _TOLERANCE:
        return True  # such a model is too small to look; in half precision rounding would decide
    ids = torch.tensor([context + branches[0] + branches[1]], device=model.device)
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=model.device)
    branch = torch.tensor([0, 0, 0, 1, 1, 2, 2], device=model.device)
    visible = ((branch[None] == 0) | (branch[None] == branch[:, None])).tril()[None]
    row = torch.zeros(2, dtype=torch.long, device=model.device)
    place = torch.tensor([4, 6], device=model.device)
    together = model.run_passes([model.pass_at(ids, row, place, positions=positions, visible=visible)])[0]
    alone = [
        model.run_passes([model.pass_at(torch.tensor([context + rest], device=model.device), row[:1], place[:1])])[0]
        for rest in branches
    ]
    return _close(model, together.flatten(), torch.cat([logits.flatten() for logits in alone]))


def _check_heads(model: Model, cache: Cache, layer: int) -> None:
    block = f"blocks.{layer}."
    hook = block + "attn.hook_pattern"
    pattern = cache[hook].float()
    _require(model, hook, "rows must sum to one", pattern.sum(-1), torch.ones_like(pattern[..., 0]))
    _require(model, hook, "must be causal", pattern.triu(1), torch.zeros_like(pattern))
    projection = model.envoy(f"{model.family.layers}.{layer}.{model.family.output}")._module
    if model.family.attention_added == model.family.output:
        total = cache[block + "attn.hook_result"].sum(-2) + output_bias(projection)
        rule = "heads must sum to hook_attn_out"
        _require(model, block + "attn.hook_result", rule, total, cache[block + "hook_attn_out"])


def _check_projections(model: Model, tokens: Tensor, layer: int) -> None:
    """Check by edits that queries, values and gates are what they are called: their shapes may be equal."""
    block = f"blocks.{layer}."
    edits: dict[str, HookFunction] = {"attn.hook_q": Zero(), "attn.hook_v": _ones}
    recorded = ["attn.hook_rot_q", "attn.hook_z"]
    if model.family.mlp_gate:
        edits["mlp.hook_pre"] = _ones
        recorded += ["mlp.hook_pre_linear", "mlp.hook_post"]
    recorders = {block + name: RecordValue() for name in recorded}
    hooks = [(block + name, edit) for name, edit in edits.items()]
    model.run_with_hooks(tokens, [*hooks, *recorders.items()])
    rotated, z, *gated = (recorder.records[0] for recorder in recorders.values())
    _require(model, block + "attn.hook_q", "queries of zero must stay zero", rotated, torch.zeros_like(rotated))
    _require(model, block + "attn.hook_v", "with values of one, attention must return one", z, torch.ones_like(z))
    if gated and gated[0].any():
        linear, post = (value.flatten().float() for value in gated)
        factor = post[linear.abs().argmax()] / linear[linear.abs().argmax()]
        rule = "with equal gates, hook_post must be proportional to hook_pre_linear"
        _require(model, block + "mlp.hook_pre", rule, post, factor * linear)


def _check_write_back(model: Model, tokens: Tensor, plain: Tensor) -> None:
    """Check that values that are put back unchanged change no logit."""
    hooks = [(point.name, _clone) for point in model.hooks.find(None)]
    if _close(model, model.run_with_hooks(tokens, hooks), plain):
        return
    for name, function in hooks:
        rule = "put back unchanged, it changes the logits"
        _require(model, name, rule, model.run_with_hooks(tokens, [(name, function)]), plain)


def _check_edits(model: Model, tokens: Tensor, plain: Tensor, cache: Cache, layer: int) -> None:
    """Check that edits of a late block reach the logits."""
    block = f"blocks.{layer}."
    edits: dict[str, HookFunction] = {"hook_mlp_out": _twice_plus_one}
    if cache[block + "attn.hook_result"].any():  # else the heads add nothing, and no edit of theirs shows
        edits |= {"attn.hook_pattern": _first_key_only, "attn.hook_z": _twice_plus_one}
    if not model.variant.parallel:
        edits["hook_resid_mid"] = _twice_plus_one
    for name, edit in edits.items():
        if torch.equal(model.run_with_hooks(tokens, [(block + name, edit)]), plain):
            raise InputError(f"{model.name}: an edit of {block}{name} does not reach the logits")


def _clone(value: Tensor, hook: Hook) -> Tensor:
    return value.clone()


def _ones(value: Tensor, hook: Hook) -> Tensor:
    return torch.ones_like(value)


def _twice_plus_one(value: Tensor, hook: Hook) -> Tensor:
    return 2 * value + 1


def _first_key_only(pattern: Tensor, hook: Hook) -> Tensor:
    edited = torch.zeros_like(pattern)
    edited[..., 0] = 1
    return edited


def _require(model: Model, hook: str, rule: str, actual: Tensor, expected: Tensor) -> None:
    if not _close(model, actual, expected):
        difference = float((actual.float() - expected.float()).abs().max())
        raise InputError(f"{model.name}: {hook}: {rule}; the difference is {difference:.3g}")


def _close(model: Model, actual: Tensor, expected: Tensor) -> bool:
    difference, expected = actual.float() - expected.float(), expected.float()
    if model.dtype in _TOLERANCE:
        return bool(difference.abs().max() <= _TOLERANCE[model.dtype] * expected.abs().max().clamp(min=1.0))
    return bool(difference.norm() <= _HALF_TOLERANCE * expected.norm().clamp(min=1.0))
