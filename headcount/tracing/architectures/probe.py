"""The anatomy of a model of any type, found by what flows through its modules when it runs a few tokens.

Nothing is taken from names. The attention module is the one that calls transformers' attention interface; W_O is the
first projection after it; what attention and the feed-forward network add are the two outputs whose sum, up to a
factor, is what the block adds to the residual stream; norms are the modules between two values that are known. Which
projection gives queries, keys and values is found by zeroing each.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.architectures.families import Family
from headcount.tracing.architectures.projections import (
    MlpProjections,
    find_experts,
    find_mlp_projections,
    find_projections,
)
from headcount.tracing.architectures.recording import AttentionRecord, ModuleCall, Recording, record, same, tolerance
from headcount.tracing.architectures.residual import find_sums, norms_after_sums, only_part, treats_tokens_alone


@dataclass(frozen=True)
class Block:
    """The parts of one block.

    Attributes:
        family: The paths of its modules.
        parallel: True if attention and feed-forward network read the same residual stream.
        post_norm: True if norms follow the sums.
        factor: The factor of what they add to it.
        attention: Its call of the attention interface; None if it has no attention heads.
        latent_widths: In latent attention (MLA), the widths of a head's key without its rotated part, and of its value.
        d_mlp: The width of its feed-forward network; 0 if it is not one matrix in and one out.
        n_experts, experts_per_token: The number of experts to choose from, and of those chosen for a token; 0 if there
            are none, or they cannot be told apart.
    """

    family: Family
    parallel: bool
    post_norm: bool
    factor: float
    attention: AttentionRecord | None
    latent_widths: tuple[int, int]
    d_mlp: int
    n_experts: int
    experts_per_token: int


def probe(hf: Any) -> list[Block]:
    """Return the parts of each block of a transformers model.

    Raises:
        InputError: A part cannot be found; the message says which.
    """
    tokens = torch.arange(3, 9, device=hf.get_input_embeddings().weight.device)[None] % hf.config.vocab_size

    def run() -> None:
        hf(input_ids=tokens, use_cache=False)

    recording = record(hf, run)
    if not recording.attention:
        recording = record(hf, run, own_attention=True)
    layers = _layers(hf, recording)
    outer = _outer(hf, recording, layers)
    return [_block(hf, recording, outer, layer) for layer in range(len(hf.get_submodule(layers)))]


def _layers(hf: nn.Module, recording: Recording) -> str:
    """Return the path of the list of blocks: the outermost that has all attention calls."""
    if not recording.attention:
        raise InputError(
            "it computes no attention that can be seen: it calls none of transformers' attention functions, and no "
            "softmax over products of queries and keys (flash attention of its own? expected "
            "attn_implementation='sdpa', or 'eager')"
        )
    names = {module: name for name, module in hf.named_modules()}
    callers = [names[call.module] for call in recording.attention]
    for name, module in hf.named_modules():
        if isinstance(module, nn.ModuleList) and all(caller.startswith(f"{name}.") for caller in callers):
            return name
    raise InputError("its blocks are not one list of modules")


def _outer(hf: Any, recording: Recording, layers: str) -> Family:
    """Return the paths outside of the blocks."""
    names = {module: name for name, module in hf.named_modules()}
    embed, unembed = names[hf.get_input_embeddings()], hf.get_output_embeddings()
    last = f"{layers}.{len(hf.get_submodule(layers)) - 1}"
    ends = [call for call in recording.modules if call.name == last]
    if len(ends) != 1 or unembed is None:
        raise InputError(f"its blocks run {len(ends)} times" if unembed is not None else "it has no unembedding")
    outside = [call for call in recording.modules if not call.name.startswith(f"{layers}.")]
    norms = [call.name for call in outside if call.is_light and same(call.input, ends[0].output)]
    once = [name for name in norms if sum(call.name == name for call in outside) == 1]
    first = next(call.input for call in recording.modules if call.name == f"{layers}.0")
    tokens = next(call.output for call in outside if call.name == embed)
    positions = [
        call
        for call in outside
        if call.name != embed
        and call.output.shape[-2:] == tokens.shape[-2:]
        and (isinstance(call.module, nn.Embedding) or same(tokens + call.output, first))
    ]
    alone = first - positions[0].output if len(positions) == 1 else first
    return Family(
        name="probed",
        model_types=(),
        embed=embed,
        embed_scale=_scale_of(tokens, alone),
        layers=layers,
        final_norm=once[0] if once else "",
        pos_embed=positions[0].name if len(positions) == 1 else "",
    )


def _scale_of(tokens: Tensor, stream: Tensor) -> float:
    """Return the factor of the token embedding in the residual stream; 1 where the stream is no multiple of it."""
    if tokens.shape != stream.shape:
        return 1.0
    scale = float((stream.double() * tokens).sum() / tokens.double().square().sum().clamp(min=1e-30))
    return scale if scale > 0 and abs(scale - 1) > 10 * tolerance(tokens) and same(stream, scale * tokens) else 1.0


def _block(hf: nn.Module, recording: Recording, outer: Family, layer: int) -> Block:
    root = f"{outer.layers}.{layer}"
    calls = [call for call in recording.modules if call.name.startswith(f"{root}.")]
    whole = [call for call in recording.modules if call.name == root]
    if len(whole) != 1:
        raise InputError(f"block {layer} runs {len(whole)} times")
    before, after = whole[0].input, whole[0].output
    if before.shape != after.shape or not before.numel():
        raise InputError(f"block {layer} does not take and return one residual stream")
    try:
        return _parts(outer, calls, _heads(hf, recording, calls, root), whole[0])
    except InputError as error:
        embedded = next(call.output for call in recording.modules if call.name == outer.embed)
        streams = before.numel() // embedded.numel()
        side_by_side = f"it hands on {streams} residual streams side by side, not one"
        raise InputError(f"block {layer}: {error if streams < 2 else side_by_side}") from None


@dataclass(frozen=True)
class _Heads:
    attend: AttentionRecord
    caller: ModuleCall
    output: ModuleCall


def _heads(hf: nn.Module, recording: Recording, calls: list[ModuleCall], root: str) -> _Heads | None:
    """Return a block's call of the attention interface, its module and W_O; None if it has no attention heads."""
    inside = {module for _, module in hf.get_submodule(root).named_modules()}
    attention = [call for call in recording.attention if call.module in inside]
    if not attention:
        return None
    if len(attention) > 1:
        raise InputError(f"it calls attention {len(attention)} times, and hooks show one call of a block")
    caller = next(call for call in calls if call.module is attention[0].module)
    attend = attention[0] if attention[0].caught is None else _without_copies(hf.config, attention[0])
    return _Heads(attend, caller, _output_projection(calls, caller, attend))


def _without_copies(config: Any, attend: AttentionRecord) -> AttentionRecord:
    """Return a record without the copies of keys and values that a model makes for the query heads of a KV group."""
    n_kv_heads = getattr(config, "num_kv_heads", None) or attend.key.shape[1]
    if attend.key.shape[1] % n_kv_heads:
        return attend
    once, copies = attend.of_groups(n_kv_heads), attend.key.shape[1] // n_kv_heads
    pairs = ((once.key, attend.key), (once.value, attend.value))
    return once if all(torch.equal(states.repeat_interleave(copies, 1), whole) for states, whole in pairs) else attend


def _one_part(
    outer: Family, calls: list[ModuleCall], heads: _Heads | None, block: ModuleCall, part: ModuleCall
) -> Block:
    """Return the parts of a block that is attention, what takes its place, or a feed-forward network alone."""
    norm = _read_through(calls, part.input, block.input)
    name = norm.name if norm is not None and norm.is_light else ""
    is_mlp = heads is None and treats_tokens_alone(part)
    if not is_mlp:
        added = heads.output if heads is not None and same(heads.output.output, part.output) else part
        paths = {"norm_1": name, "attention_added": added.name}
        family, widths = _with_heads(outer, calls, heads, block, paths)
        family = _described(replace(family, only="attention"), block, calls, paths, (), None)
        return Block(family, False, False, 1.0, None if heads is None else heads.attend, widths, 0, 0, 0)
    mlp, (experts, *numbers) = find_mlp_projections(calls, part), find_experts(calls)
    paths = {"norm_2": name, "experts": experts, **mlp.paths}
    family = _described(replace(outer, only="mlp"), block, calls, paths, mlp.modules, part)
    return Block(family, False, False, 1.0, None, (0, 0), mlp.width, *numbers)


def _with_heads(
    outer: Family, calls: list[ModuleCall], heads: _Heads | None, block: ModuleCall, paths: dict[str, str]
) -> tuple[Family, tuple[int, int]]:
    """Return the family with a block's heads, and the widths of latent attention; note paths of modules."""
    if heads is None:
        return outer, (0, 0)
    family, widths = find_projections(outer, block.name, heads.caller, heads.attend, calls)
    paths |= {"attention": heads.caller.name, "output": heads.output.name}
    return replace(family, gated=not same(heads.output.input, heads.attend.output.transpose(1, 2))), widths


def _parts(outer: Family, calls: list[ModuleCall], heads: _Heads | None, block: ModuleCall) -> Block:
    if (part := only_part(calls, block)) is not None:
        return _one_part(outer, calls, heads, block, part)
    caller, projection = (None, None) if heads is None else (heads.caller, heads.output)
    after_sums = norms_after_sums(calls, projection, block)
    if after_sums is not None:  # what is added to the residual stream then shows in what these norms take and give
        block = replace(block, output=after_sums[0].input + after_sums[1].input - after_sums[0].output)
    sums = find_sums(calls, caller, projection, block)
    attention_added, mlp_added, middle = sums.attention, sums.mlp, sums.middle
    reader = attention_added if caller is None else caller
    mlp = MlpProjections((), {})
    if mlp_added is not None:
        mlp = find_mlp_projections(calls, _with_matrices(calls, mlp_added))
    if after_sums is not None:
        norms = _Norms(after_sums[0].name, after_sums[1].name, parallel=False)
    elif mlp_added is None:
        norms = _norms_around(calls, reader, block.input, middle)
    else:
        norms = _norms(calls, reader, mlp.reads, block.input, middle)
    paths = {"attention_added": attention_added.name, "norm_1": norms.first, "norm_2": norms.second, **mlp.paths}
    family, widths = _with_heads(outer, calls, heads, block, paths)
    experts, *numbers = find_experts(calls)
    paths |= {"experts": experts} | ({"beside": sums.beside.name} if sums.beside else {})
    family = _described(replace(family, **sums.fields), block, calls, paths, mlp.modules, mlp_added)
    attend = None if heads is None else heads.attend
    return Block(family, norms.parallel, after_sums is not None, sums.factor, attend, widths, mlp.width, *numbers)


def _described(
    family: Family,
    block: ModuleCall,
    calls: list[ModuleCall],
    paths: dict[str, str],
    mlp: tuple[str, ...],
    mlp_added: ModuleCall | None,
) -> Family:
    """Return the family with what was found in a block, as paths that start there."""

    def within(path: str) -> str:
        return path.removeprefix(f"{block.name}.")

    relative: dict[str, Any] = {name: within(path) for name, path in paths.items()}
    if mlp_added is not None:
        relative |= {"mlp_added": within(mlp_added.name), "mlp_returns_more": mlp_added.elements > 0}
        relative |= {"flat_mlp": mlp_added.output.dim() < block.output.dim(), "adds_in_place": mlp_added.was_changed}
    found = replace(family, **relative, mlp=tuple(map(within, mlp)), block_elements=block.elements)
    ends = {within(call.name): call.time for call in calls}
    named = {value for value in vars(found).values() if isinstance(value, str)} & set(ends)
    return replace(found, order=tuple(sorted(named, key=ends.__getitem__)))


def _output_projection(calls: list[ModuleCall], caller: ModuleCall, attend: AttentionRecord) -> ModuleCall:
    """Return W_O: the first projection after the attention call that reads the heads' outputs, gated ones too."""
    after = [
        call
        for call in calls
        if call.name.startswith(f"{caller.name}.") and call.has_matrix and call.time > attend.time
    ]
    heads = attend.output.transpose(1, 2).flatten(2)
    read = [call for call in after if same(call.input, heads)]
    wide = [call for call in after if call.input.numel() == heads.numel() and not same(call.input, caller.input)]
    if not (read or wide):
        raise InputError("no projection reads what attention gives (as in a mixture of attention heads)")
    return (read or wide)[0]


def _with_matrices(calls: list[ModuleCall], added: ModuleCall) -> ModuleCall:
    """Return the module that has the feed-forward network's weights: the one that adds, or one before its norm."""
    core = added
    while core.is_light:
        before = [call for call in calls if call.time < core.time and same(call.output, core.input)]
        if not before:
            raise InputError("what gives the feed-forward network's output cannot be found")
        core = before[-1]
    return core


@dataclass(frozen=True)
class _Norms:
    first: str
    second: str
    parallel: bool


def _norms(calls: list[ModuleCall], caller: ModuleCall, reads: Tensor, before: Tensor, middle: Tensor) -> _Norms:
    """Return the norms in front of attention and the feed-forward network, and whether both read the same stream."""
    first = _read_through(calls, caller.input, before)
    name = first.name if first is not None and first.is_light else ""
    if first is not None and same(reads, first.output):
        return _Norms(name, "", parallel=True)
    for stream, parallel in ((middle, False), (before, True)):
        second = _read_through(calls, reads, stream)
        if second is not None:
            return _Norms(name, second.name if second.is_light else "", parallel)
        if same(reads, stream):
            return _Norms(name, "", parallel)
    raise InputError("the feed-forward network reads neither the residual stream nor a norm of it")


def _norms_around(calls: list[ModuleCall], caller: ModuleCall, before: Tensor, middle: Tensor) -> _Norms:
    """Return the norm in front of attention, and the first module that reads the residual stream after attention."""
    first = _read_through(calls, caller.input, before)
    second = next((call for call in calls if call.is_light and same(call.input, middle)), None)
    if second is None:
        raise InputError("no norm reads the residual stream between attention and the feed-forward network")
    return _Norms(first.name if first is not None and first.is_light else "", second.name, parallel=False)


def _read_through(calls: list[ModuleCall], reads: Tensor, stream: Tensor) -> ModuleCall | None:
    """Return the module, a norm most likely, through which the residual stream becomes what a module reads."""
    found = [call for call in calls if same(call.output, reads) and same(call.input, stream)]
    return next((call for call in reversed(found) if not same(call.input, call.output)), None)
