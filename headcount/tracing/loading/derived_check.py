"""Further checks of a model whose parts were found by running it, and of what such a model takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headcount.tracing.architectures.anatomy import Anatomy
from headcount.tracing.architectures.recording import tolerance
from headcount.tracing.cache import Cache
from headcount.tracing.hooks.attention import AttentionCall
from headcount.tracing.hooks.hook import Hook, HookFunction, RecordValue
from headcount.tracing.hooks.modules import affine, normalised
from headcount.tracing.loading.rules import TOLERANCE, close, give_ones, require, run_and_record, start_at
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
    _check_late_start(model, tokens, plain, cache)
    for layer in range(model.sizes.n_layers):
        if model.paths(layer).attention:
            _check_values(model, tokens, cache, layer)
        check_gate(model, tokens, cache, layer)
    _check_unembedding(model, tokens, plain)
    with _few_keys(model):
        model.padding = _padding_without_effect(model, tokens)
    model.reads_embedding = _reads_embedding(model, cache)


def check_gate(model: Model, tokens: Tensor, cache: Cache, layer: int) -> None:
    """Check by an edit that the gate of a feed-forward network is not its other projection.

    Raises:
        InputError: It is.
    """
    block = f"blocks.{layer}."
    if not model.paths(layer).mlp_gate:
        return
    recorded = ["mlp.hook_pre_linear", "mlp.hook_post"]
    edits: dict[str, HookFunction] = {"mlp.hook_pre": give_ones}
    values = run_and_record(model, tokens, layer, edits, recorded, cache[block + "hook_resid_pre"])
    linear, post = (value.flatten() for value in values)
    if linear.any():
        factor = post[linear.abs().argmax()] / linear[linear.abs().argmax()]
        rule = "with equal gates, hook_post must be proportional to hook_pre_linear"
        require(model, block + "mlp.hook_pre", rule, post, factor * linear)


def _check_values(model: Model, tokens: Tensor, cache: Cache, layer: int) -> None:
    """Check that `hook_z` is what attention gives of each head, perhaps times a gate, and that of `hook_v`.

    A norm between attention and W_O would mix the heads; one between `hook_v` and attention would hide values.
    """
    block, start = f"blocks.{layer}.", start_at(layer, cache[f"blocks.{layer}.hook_resid_pre"])
    calls = _RecordCall()
    model.run_until_last(tokens, [*start, (block + "attn.call", calls)])
    (call,) = calls.calls
    values = call.value.transpose(1, 2)
    if block + "attn.hook_v" in model.hooks:
        require(
            model, block + "attn.hook_v", "attention must average these values", cache[block + "attn.hook_v"], values
        )
    recorder = RecordValue()
    model.run_until_last(tokens, [*start, (block + "attn.call", _AttendToOnes()), (block + "attn.hook_z", recorder)])
    gate, z = recorder.records[0], call.attend().output.transpose(1, 2)
    rule = "must be what attention gives of each head, times a gate at most: a norm before W_O mixes the heads, say"
    require(model, block + "attn.hook_z", rule, cache[block + "attn.hook_z"], gate * z.to(gate))


def _check_unembedding(model: Model, tokens: Tensor, plain: Tensor) -> None:
    """Check that logits are W_U's, up to a factor or a cap: W_U is what copying takes them for."""
    given: list[Tensor] = []
    handle = model.hf.get_output_embeddings().register_forward_hook(
        lambda module, args, output: given.append(output.clone())
    )
    try:
        model.hf(input_ids=tokens, use_cache=False)
    finally:
        handle.remove()
    rule = "logits must be what the unembedding gives, in proportion to it, or capped"
    config = model.hf.config
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    unembedded = given[0] if cap is None else cap * (given[0] / cap).tanh()
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


def _check_late_start(model: Model, tokens: Tensor, plain: Tensor, cache: Cache) -> None:
    """Check that blocks hand on nothing but the residual stream: the oracles start in the middle."""
    last = model.sizes.n_layers - 1
    stream = cache[f"blocks.{last}.hook_resid_pre"]
    hooks = [(f"blocks.{layer}.skip", lambda value, hook: stream) for layer in range(last)]
    rule = "a start at this block must give the same logits"
    require(model, f"blocks.{last}.hook_resid_pre", rule, model.run_with_hooks(tokens, hooks), plain)


@contextmanager
def _few_keys(model: Model) -> Iterator[None]:
    """Let indices choose so few keys for each token that a few tokens show what the choice depends on."""
    numbers = [(module, int(module.index_topk)) for module in model.hf.modules() if "index_topk" in vars(module)]
    try:
        for module, _ in numbers:
            module.index_topk = 2
        yield
    finally:
        for module, number in numbers:
            module.index_topk = number


def _padding_without_effect(model: Model, tokens: Tensor) -> set[str]:
    """Return the sides on which padding changes no logit: elsewhere a layer reads it."""
    harmless, padding, plain = set(), tokens[:, :2], model(tokens)
    rows = {"left": torch.cat([padding, tokens], 1), "right": torch.cat([tokens, padding], 1)}
    for side, row in rows.items():
        real = slice(2, None) if side == "left" else slice(None, -2)
        mask = torch.zeros_like(row)
        mask[:, real] = 1
        padded = model(row, attention_mask=mask)[:, real]
        # In half precision a recurrent layer that reads padding moves logits by less than rounding may.
        far = model.dtype not in TOLERANCE and (padded - plain).norm() > _SMALL * plain.norm()
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


def shares_rows(model: Model) -> bool:
    """Return True if two continuations of one context, in one row with a mask, have the logits that each has alone.

    They do not where a layer looks at the tokens before it other than by masked attention, or where positions enter
    attention by the place in the row. A few tokens do not reach beyond windows and chunks: of the known types only
    `sliding_window` has some, which `document_trees` looks at; of another, any setting of that kind is taken as one,
    and so is the number of keys that an index chooses.
    """
    if model.derived and any(
        any(word in name for word in ("window", "chunk", "index_topk"))
        and name != "sliding_window"
        and type(value) is int
        and value > 0
        for name, value in model.hf.config.to_dict().items()
    ):
        return False
    context, branches = [3, 5, 4], ([6, 3], [4, 6])
    in_half = model.dtype not in TOLERANCE
    if in_half and not _attends_throughout(model):
        return False  # rounding would hide what leaks from branch to branch
    if model.sizes.vocab <= 6 or model.sizes.context < 7 or (in_half and not model.derived):
        return True  # such a model is too small to look; in half precision rounding would decide
    ids = torch.tensor([context + branches[0] + branches[1]], device=model.device)
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=model.device)
    branch = torch.tensor([0, 0, 0, 1, 1, 2, 2], device=model.device)
    visible = ((branch[None] == 0) | (branch[None] == branch[:, None])).tril()[None]
    row = torch.zeros(2, dtype=torch.long, device=model.device)
    place = torch.tensor([4, 6], device=model.device)
    try:
        together = model.run_passes([model.pass_at(ids, row, place, positions=positions, visible=visible)])[0]
    except (RuntimeError, ValueError, TypeError, IndexError):  # it takes no mask of [batch, head, query, key]
        return False
    apart = torch.tensor([context + rest for rest in branches], device=model.device)
    rows, last = torch.tensor([0, 1], device=model.device), torch.tensor([4, 4], device=model.device)
    alone = model.run_passes([model.pass_at(apart, rows, last)])[0]
    return close(model, together.flatten(), alone.flatten())


class _AttendToOnes:
    """Lets attention return ones."""

    def __call__(self, call: AttentionCall, hook: Hook) -> Tensor:
        return torch.ones_like(call.attend().output)


class _RecordCall:
    """Records attention calls."""

    def __init__(self) -> None:
        self.calls: list[AttentionCall] = []

    def __call__(self, call: AttentionCall, hook: Hook) -> None:
        self.calls.append(call)
