"""Removing heads and feed-forward networks for good: the same logits as `masked`, from a model that costs less."""

import copy
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.ablation.masks import with_present_removals
from headcount.tracing.architectures.anatomy import Anatomy, empty_copy
from headcount.tracing.devices import place_as
from headcount.tracing.model import Model, wrap_for_nnsight
from headcount.tracing.removed import HeadSet, LayerSet
from headcount.tracing.surgery import fill, take_out


@dataclass(frozen=True)
class ParameterCounts:
    """How many parameters a removal takes out, biases and norms included.

    Attributes:
        total: Parameters of the whole model; tied ones count once.
        heads: Parameters that go with the heads.
        ffns: Parameters that go with the feed-forward networks.
    """

    total: int
    heads: int
    ffns: int

    @property
    def removed(self) -> int:
        """All that go."""
        return self.heads + self.ffns

    @property
    def share(self) -> float:
        """The part of the whole model that goes, in [0, 1)."""
        return self.removed / self.total


def pruned(model: Model, heads: HeadSet | None = None, ffns: LayerSet | None = None) -> Model:
    """A model from whose weights parts are taken out: the logits of `masked`, at less cost.

    A head's rows of W_Q, W_K and W_V and its columns of W_O go (W_O's bias stays); of grouped queries W_K and W_V go
    with the last head of their group. A feed-forward network goes whole, with the norms that serve it alone. Tensors
    that are not cut are shared with the whole model, which stays as it is: before training the smaller one, copy it
    (`copy.deepcopy`) and call `requires_grad_(True)` on its `hf`.

    `sizes` remain those of the whole model. In a layer that lost heads there are no hooks with a head axis
    (`blocks.l.attn.*`), and in one without feed-forward network none inside it: asking for one is an error. The
    residual stream's hooks, `hook_attn_out` and `hook_mlp_out` are everywhere. A pruned model can be neither masked nor
    pruned again.

    Args:
        model: The model; parts that are removed at present (`masked`) go as well.
        heads: Mask [layer, head], True where removed, or pairs [(layer, head), ...].
        ffns: Mask [layer], True where removed, or layers.

    Returns:
        The smaller model, ready to be run.

    Raises:
        InputError: A mask's shape is not the model's, a part does not exist, the model is pruned already or is
            on a server or streamed, or its modules were changed so that they no longer fit its configuration.
    """
    if not model.in_memory:
        raise InputError(f"{model.name} is not in memory, and its weights stay as they are: use masked")
    removed = with_present_removals(model, heads, ffns)
    small = empty_copy(model.hf)
    tensors = {**model.hf.state_dict(), **dict(model.hf.named_buffers())}
    fill(small, tensors)
    small.generation_config = copy.deepcopy(getattr(model.hf, "generation_config", None))
    anatomy = Anatomy(model.family, model.variant, model.sizes)
    take_out(small, anatomy, removed)
    place_as(small, model.hf)
    # Its hooks are those of the whole model, which were checked when it was opened; a sweep makes hundreds like it.
    nnsight_model = wrap_for_nnsight(small, getattr(model.nnsight, "tokenizer", None))
    return Model(
        small,
        model.tokenizer,
        name=model.name,
        revision=model.revision,
        nnsight_model=nnsight_model,
        anatomy=anatomy,
    )


def removed_parameters(model: Model, heads: HeadSet | None = None, ffns: LayerSet | None = None) -> ParameterCounts:
    """Exactly how many parameters `pruned` would take out; from shapes alone, so the model may be on meta.

    Args:
        model: The model; parts that are removed at present (`masked`) count as well.
        heads: Mask [layer, head], True where removed, or pairs [(layer, head), ...].
        ffns: Mask [layer], True where removed, or layers.

    Raises:
        InputError: A mask's shape is not the model's, a part does not exist, or the model is pruned already.
    """
    removed = with_present_removals(model, heads, ffns)
    anatomy = Anatomy(model.family, model.variant, model.sizes)
    blocks = [model.hf.get_submodule(f"{model.family.layers}.{layer}") for layer in range(model.sizes.n_layers)]
    of_heads = sum(_of_heads(block, anatomy, gone) for block, gone in zip(blocks, removed.heads, strict=True))
    of_ffns = sum(_of_ffn(block, anatomy) for block, gone in zip(blocks, removed.ffns, strict=True) if gone)
    return ParameterCounts(_count(model.hf), of_heads, of_ffns)


def _of_heads(block: nn.Module, anatomy: Anatomy, gone: Bool[Tensor, " head"]) -> int:
    family, sizes = anatomy.family, anatomy.sizes
    output: Any = block.get_submodule(family.output)
    if gone.all():  # norms of queries and keys go too
        bias = getattr(output, "bias", None)
        return _count(block.get_submodule(family.attention)) - (0 if bias is None else bias.numel())
    heads, groups = int(gone.sum()), int(gone.unflatten(0, (sizes.n_kv_heads, -1)).all(1).sum())
    per_head = [family.fused] if family.fused else [family.query]
    per_group = [] if family.fused else [family.key, family.value]
    count = output.weight.numel() // sizes.n_heads * heads
    count += sum(_count(block.get_submodule(path)) // sizes.n_heads * heads for path in per_head)
    return count + sum(_count(block.get_submodule(path)) // sizes.n_kv_heads * groups for path in per_group)


def _of_ffn(block: nn.Module, anatomy: Anatomy) -> int:
    return sum(_count(block.get_submodule(path)) for path in anatomy.ffn())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
