"""Abilities of the tiny OPT, and the heads that they need: the numbers of record.json."""

import contextlib
from collections.abc import Callable, Collection, Iterator

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import OPTForCausalLM

from headcount.tracing.tiny_opt.walks import draw_distinct, with_bos

REPEATS = 4
Question = tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"]]  # the prompts, and the token that must come next


def draw_repeats(batch: int, period: int, generator: torch.Generator) -> Int[Tensor, "batch pos"]:
    """Draw BOS and then distinct random tokens, four times over."""
    return with_bos(draw_distinct(batch, period, generator).repeat(1, REPEATS))


def draw_lookup(batch: int, shown: int, generator: torch.Generator) -> Question:
    """Draw questions for a token's successor: distinct tokens come once, then one of them, not the last, again."""
    tokens = draw_distinct(batch, shown, generator)
    query = torch.randint(0, shown - 1, (batch, 1), generator=generator)
    return with_bos(torch.cat([tokens, tokens.gather(1, query)], dim=1)), tokens.gather(1, query + 1)[:, 0]


def draw_recall(batch: int, pairs: int, times: int, generator: torch.Generator) -> Question:
    """Draw questions for a key's value: all pairs come `times` times, each time in a new order, then a key again."""
    keys, values = draw_distinct(batch, 2 * pairs, generator).chunk(2, dim=1)
    order = torch.rand(batch, times, pairs, generator=generator).argsort(dim=2).flatten(1)
    text = rearrange([keys.gather(1, order), values.gather(1, order)], "two batch pair -> batch (pair two)")
    query = torch.randint(0, pairs, (batch, 1), generator=generator)
    return with_bos(torch.cat([text, keys.gather(1, query)], dim=1)), values.gather(1, query)[:, 0]


@torch.no_grad()
def prefix_matching(model: OPTForCausalLM, period: int, generator: torch.Generator) -> Float[Tensor, "layer head"]:
    """Score every head's attention to tokens that followed the present token earlier, in [0, 1] (`successor`).

    For positions j = L+1 .. 4L of BOS + four repeats of L tokens: the mean over j of the summed attention from j to the
    positions j - kL + 1, k = 1 .. floor((j - 1) / L). Mean over 20 sequences.

    Args:
        model: The model; its attention must be the eager one, which returns patterns.
        period: L.
        generator: Source of the sequences.

    Returns:
        A score for each head.
    """
    tokens = draw_repeats(20, period, generator)
    patterns = torch.stack(model(tokens, output_attentions=True, use_cache=False).attentions)
    query, key = torch.meshgrid(torch.arange(tokens.shape[1]), torch.arange(tokens.shape[1]), indexing="ij")
    follows = (query > period) & (key > 1) & ((query - key + 1) % period == 0) & (key <= query)
    scores: Float[Tensor, "layer head"] = (patterns * follows).sum(dim=-1)[..., period + 1 :].mean(dim=(1, 3))
    return scores


@torch.no_grad()
def previous_token(model: OPTForCausalLM, period: int, generator: torch.Generator) -> Float[Tensor, "layer head"]:
    """Return every head's mean attention to the token before, in [0, 1], on BOS + four repeats of `period` tokens."""
    tokens = draw_repeats(20, period, generator)
    patterns = torch.stack(model(tokens, output_attentions=True, use_cache=False).attentions)
    attention: Float[Tensor, "layer head"] = patterns.diagonal(-1, dim1=-2, dim2=-1).mean(dim=(1, 3))
    return attention


@torch.no_grad()
def repeat_accuracy(model: OPTForCausalLM, period: int, generator: torch.Generator) -> Float[Tensor, " repeat"]:
    """Return the share of correctly predicted tokens in the 2nd, 3rd and 4th repeat, over 20 sequences.

    The first token of the 2nd repeat cannot be known (nothing has followed the last token yet): the largest possible
    value there is 1 - 1 / period.
    """
    tokens = draw_repeats(20, period, generator)
    right = model(tokens, use_cache=False).logits[:, :-1].argmax(dim=-1) == tokens[:, 1:]
    by_repeat = rearrange(right, "batch (repeat pos) -> repeat batch pos", repeat=REPEATS)[1:]
    return by_repeat.float().mean(dim=(1, 2))


@torch.no_grad()
def accuracy(model: OPTForCausalLM, question: Question) -> float:
    """Return the share of questions whose answer is the most probable next token."""
    tokens, answer = question
    right = model(tokens, use_cache=False).logits[:, -1].argmax(dim=-1) == answer
    return float(right.float().mean())


@contextlib.contextmanager
def without(model: OPTForCausalLM, heads: Collection[tuple[int, int]]) -> Iterator[None]:
    """Zero the (layer, head) outputs that go into `out_proj` while the block runs."""
    handles = []
    for layer, block in enumerate(model.model.decoder.layers):
        hook = _zero_heads([head for its_layer, head in heads if its_layer == layer], block.self_attn.num_heads)
        handles.append(block.self_attn.out_proj.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _zero_heads(heads: list[int], n_heads: int) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """Return a hook that sets some heads of one layer to zero."""
    factors = torch.ones(n_heads)
    factors[heads] = 0.0

    def hook(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0] * factors.repeat_interleave(args[0].shape[-1] // n_heads),)

    return hook
