"""Further checks of a model whose parts were found by running it, and of what such a model takes."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.recording import tolerance
from headcount.tracing.cache import Cache
from headcount.tracing.hooks.attention import AttentionCall
from headcount.tracing.hooks.hook import Hook, HookFunction
from headcount.tracing.hooks.modules import affine, normalised
from headcount.tracing.loading.rules import close, give_ones, is_precise, require, run_blocks, start_at
from headcount.tracing.model import Model
from headcount.tracing.streaming.blocks import BlocksInMemory
from headcount.tracing.streaming.runner import StreamingRunner


def unusual_norms(hf: Any, anatomy: Anatomy) -> dict[str, str]:
    """Return the hooks at norms that are not x normalised, times a gain, plus a bias; and for each the reason."""
    hooks = {"ln_final.hook_normalized": anatomy.family.final_norm}
    for layer in range(anatomy.sizes.n_layers):
        block, family = f"{anatomy.family.layers}.{layer}.", anatomy.block(layer)
        for number, path in ((1, family.norm_1), (2, family.norm_2)):
            hooks[f"blocks.{layer}.ln{number}.hook_normalized"] = block + path if path else ""
    return {
        name: "this norm does more than to normalise, to multiply by a gain and to add a bias"
        for name, path in hooks.items()
        if path and not _is_usual(hf.get_submodule(path), anatomy.sizes.d_model)
    }


def _is_usual(norm: nn.Module, d_model: int) -> bool:
    weight = next(norm.parameters(), torch.zeros(0))
    if weight.is_meta:  # its weights come when it runs
        return True
    numbers = torch.arange(3 * d_model, device=weight.device).reshape(1, 3, d_model)
    x = (numbers * 0.7).sin().to(weight.dtype if weight.numel() else torch.float32) + 0.1
    with torch.no_grad():
        given, expected = affine(norm, normalised(norm, x)), norm(x)
    # Norms compute in float32 whatever the model's format is.
    return bool((given - expected).abs().max() <= max(tolerance(x), 1e-4) * expected.abs().max())


def check_derived(model: Model, tokens: Tensor, plain: Tensor, cache: Cache) -> None:
    """Check a model whose parts were found by running it; note on it what it takes.

    Args:
        model: The model.
        tokens: A few tokens.
        plain: Their logits.
        cache: Their values of all hooks.

    Raises:
        InputError: A hook breaks a rule.
    """
    _check_end(model, tokens, plain, cache)
    calls = {layer: _AttendToOnes() for layer in model.layers_with_heads}
    edits: dict[str, HookFunction] = {"attn.call": lambda call, hook: calls[hook.layer()](call, hook)}
    names = ["attn.hook_z", "mlp.hook_pre_linear", "mlp.hook_post"]
    layers = range(model.sizes.n_layers)
    edited = run_blocks(model, tokens, cache, layers, edits | {"mlp.hook_pre": give_ones}, names)
    for layer in layers:
        if layer in calls:
            _check_values(model, cache, edited, calls[layer].calls[0], layer)
        check_gate(model, edited, layer)
    model.padding = _padding_without_effect(model, tokens, plain)
    model.reads_embedding = _reads_embedding(model, cache)


def check_gate(model: Model, edited: Mapping[str, Tensor], layer: int) -> None:
    """Check, in values of a run with gates of one, that a feed-forward network's gate is not its other projection.

    Raises:
        InputError: It is.
    """
    block = f"blocks.{layer}."
    if not model.paths(layer).mlp_gate or block + "mlp.hook_pre_linear" not in edited:
        return
    linear, post = (edited[block + name].flatten() for name in ("mlp.hook_pre_linear", "mlp.hook_post"))
    if linear.any():
        factor = post[linear.abs().argmax()] / linear[linear.abs().argmax()]
        rule = "with equal gates, hook_post must be proportional to hook_pre_linear"
        require(model, block + "mlp.hook_pre", rule, post, factor * linear)


def _check_values(model: Model, cache: Cache, edited: Mapping[str, Tensor], call: AttentionCall, layer: int) -> None:
    """Check that `hook_z` is what attention gives of each head, perhaps times a gate, and that of `hook_v`.

    A norm between attention and W_O would mix the heads; one between `hook_v` and attention would hide values. The
    gate is what is there if attention gives ones.
    """
    block = f"blocks.{layer}."
    values = call.value.transpose(1, 2)
    if block + "attn.hook_v" in model.hooks:
        require(
            model, block + "attn.hook_v", "attention must average these values", cache[block + "attn.hook_v"], values
        )
    gate, z = edited[block + "attn.hook_z"], call.attend().output.transpose(1, 2)
    rule = "must be what attention gives of each head, times a gate at most: a norm before W_O mixes the heads, say"
    require(model, block + "attn.hook_z", rule, cache[block + "attn.hook_z"], gate * z.to(gate))


def _check_end(model: Model, tokens: Tensor, plain: Tensor, cache: Cache) -> None:
    """Check that the last block and the unembedding need nothing but the residual stream.

    The oracles start in the middle: blocks may hand on nothing else. Logits must be W_U's, up to a factor or a cap: W_U
    is what copying takes them for.
    """
    last = model.sizes.n_layers - 1
    read = _ReadUnembedded()
    start = start_at(last, cache[f"blocks.{last}.hook_resid_pre"])
    logits = model.run_with_hooks(tokens, [*start, ("unembed.select", read)])
    rule = "a start at this block must give the same logits"
    require(model, f"blocks.{last}.hook_resid_pre", rule, logits, plain)
    unembedded = model.hf.get_output_embeddings()(read.streams[0])
    config = model.hf.config
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    unembedded = unembedded if cap is None else cap * (unembedded / cap).tanh()
    rule = "logits must be what the unembedding gives, in proportion to it, or capped"
    require(model, "unembed", rule, unembedded * _factor(plain, unembedded), plain)


def _reads_embedding(model: Model, cache: Cache) -> bool:
    """Return True if block 0 reads the embedding, or a multiple of it, with positions at most: no norm lies between."""
    stream, embed = cache["blocks.0.hook_resid_pre"], cache["hook_embed"]
    if model.family.pos_embed:
        stream = stream - cache["hook_pos_embed"]
    return close(model, embed * _factor(stream, embed), stream)


def _factor(values: Tensor, of: Tensor) -> Tensor:
    """Return the factor, above zero, by which values come closest to others."""
    return ((values.double() * of).sum() / of.double().square().sum()).clamp(min=1e-6).to(of.dtype)


@contextmanager
def _few_keys(model: Model) -> Iterator[bool]:
    """Let indices choose so few keys for each token that a few tokens show what the choice depends on.

    Yields:
        True if there are such indices.
    """
    numbers = [(module, int(module.index_topk)) for module in model.hf.modules() if "index_topk" in vars(module)]
    try:
        for module, _ in numbers:
            module.index_topk = 2
        yield bool(numbers)
    finally:
        for module, number in numbers:
            module.index_topk = number


def _padding_without_effect(model: Model, tokens: Tensor, plain: Tensor) -> set[str]:
    """Return the sides on which padding changes no logit: elsewhere a layer reads it."""
    padding, real = tokens[:, :2], {"left": slice(2, None), "right": slice(None, -2)}
    rows = torch.cat([torch.cat([padding, tokens], 1), torch.cat([tokens, padding], 1)])
    mask = torch.zeros_like(rows)
    mask[0, real["left"]] = mask[1, real["right"]] = 1
    with _few_keys(model) as few:
        plain = model(tokens) if few else plain
        sides = dict(zip(real, model(rows, attention_mask=mask).split(1), strict=True))
    harmless = set()
    for side, logits in sides.items():
        padded = logits[:, real[side]]
        # In half precision a recurrent layer that reads padding moves logits by less than rounding may.
        far = not is_precise(model) and (padded - plain).norm() > _SMALL * plain.norm()
        if close(model, padded, plain) and not (far and side == "left" and not _attends_throughout(model)):
            harmless.add(side)
    return harmless


def check_blocks_alone(model: Model) -> None:
    """Check that blocks which are run one by one, as streaming does, have the values of the whole model.

    Raises:
        InputError: They have others: a block needs more of those before it than the residual stream.
    """
    tokens = (torch.arange(3, 9, device=model.device) % model.sizes.vocab)[None]
    padded, mask = tokens.repeat(2, 1), torch.ones(2, 6, dtype=torch.long)
    mask[1, slice(-2, None) if "right" in model.padding else slice(0, 2 * ("left" in model.padding))] = 0
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        masked_logits = model(padded, attention_mask=mask)
        model.stream = StreamingRunner(BlocksInMemory(model), model.family, model.sizes, sys.maxsize)
        alone, alone_cache = model.run_with_cache(tokens)
        rule = "blocks run one by one must give the same"
        for name, value in cache.items():
            require(model, name, rule, *(v.nan_to_num(neginf=0) for v in (alone_cache[name], value)))  # masked scores
        require(model, "the logits", rule, alone, logits)
        real = mask.bool()
        require(model, "the logits", rule, model(padded, attention_mask=mask)[real], masked_logits[real])
    model.stream = None


_SMALL = 0.01


def _attends_throughout(model: Model) -> bool:
    """Return True if every layer looks at earlier tokens by attention alone, and by transformers' functions."""
    families = [model.paths(layer) for layer in range(model.sizes.n_layers)]
    return all(
        (family.attention or family.only == "mlp") and not (family.scale or family.beside) for family in families
    )


_CONTEXT, _BRANCHES = [3, 5, 4], ([6, 3], [4, 6])


def continuations(model: Model, tokens: Tensor) -> Tensor:
    """Return two continuations of one context as rows of their own, as long as `tokens`; none in a small model."""
    if model.sizes.vocab <= 6 or model.sizes.context < 7:
        return tokens[:0]
    rows = [_CONTEXT + branch for branch in _BRANCHES]
    return torch.tensor([(row + row[:1])[: tokens.shape[1]] for row in rows], device=tokens.device)


def shares_rows(model: Model, alone: Sequence[Tensor]) -> bool:
    """Return True if two continuations of one context, in one row with a mask, have the logits that each has alone.

    They do not where a layer looks at the tokens before it other than by masked attention, or where positions enter
    attention by the place in the row. A few tokens do not reach beyond windows and chunks: of the known types only
    `sliding_window` has some, which `document_trees` looks at; of another, any setting of that kind is taken as one,
    and so is the number of keys that an index chooses.

    Args:
        model: The model.
        alone: The logits of `continuations`; none where the model is too small to look.
    """
    if model.derived and any(
        any(word in name for word in ("window", "chunk", "index_topk"))
        and name != "sliding_window"
        and type(value) is int
        and value > 0
        for name, value in model.hf.config.to_dict().items()
    ):
        return False
    in_half = not is_precise(model)
    if in_half and not _attends_throughout(model):
        return False  # rounding would hide what leaks from branch to branch
    if not alone or (in_half and not model.derived):
        return True  # in half precision rounding would decide
    ids = torch.tensor([_CONTEXT + _BRANCHES[0] + _BRANCHES[1]], device=model.device)
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=model.device)
    branch = torch.tensor([0, 0, 0, 1, 1, 2, 2], device=model.device)
    visible = ((branch[None] == 0) | (branch[None] == branch[:, None])).tril()[None]
    row = torch.zeros(2, dtype=torch.long, device=model.device)
    place = torch.tensor([4, 6], device=model.device)
    try:
        together = model.run_passes([model.pass_at(ids, row, place, positions=positions, visible=visible)])[0]
    except (RuntimeError, ValueError, TypeError, IndexError):  # it takes no mask of [batch, head, query, key]
        return False
    return close(model, together.flatten(), torch.stack([logits[0, 4] for logits in alone]).flatten())


class _ReadUnembedded:
    """Records the residual stream that the unembedding reads."""

    def __init__(self) -> None:
        self.streams: list[Tensor] = []

    def __call__(self, value: Tensor, hook: Hook) -> Tensor:
        self.streams.append(value.clone())
        return value


class _AttendToOnes:
    """Lets attention return ones, and records its call."""

    def __init__(self) -> None:
        self.calls: list[AttentionCall] = []

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        self.calls.append(call)
        return torch.ones_like(call.attend().output)
