"""Paths between heads by the plainest means: three runs for each earlier head, in float64.

In the first run the earlier head's z is replaced; from it, or from the change that it makes to the residual stream, the
keys (queries, values) of the later head are taken; in the last run these alone are put into the whole model.
"""

import sys
from contextlib import contextmanager

import torch
from reference import parts
from reference.prefix import keys, prefix_score
from torch import Tensor, nn
from transformers import PreTrainedModel

STATES = {"query": 0, "key": 1, "value": 2}


class Setup:
    """A model, one sequence, and the later head."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor, target: tuple[int, int], period: int):
        self.model, self.tokens, self.period = parts.eager_copy(model), tokens, period
        self.layer, self.head = target
        self.bos = len(tokens) % period == 1
        self.n_heads = model.config.num_attention_heads


@torch.no_grad()
def feeding_heads(
    model: PreTrainedModel, rows: Tensor, target: tuple[int, int], on: str, path: str, period: int, heads: list[int]
) -> Tensor:
    """Return the fall of the later head's score for some heads of every earlier layer: [sequence, layer, head]."""
    means = mean_outputs(model, rows)
    falls = []
    for tokens in rows:
        setup = Setup(model, tokens, target, period)
        whole = score(setup, on, states(setup)[STATES[on]])
        of_sequence = []
        for layer in range(setup.layer):
            of_layer = []
            for head in heads:
                edited = total if path == "total" else direct
                of_layer.append(whole - score(setup, on, edited(setup, layer, head, means)[STATES[on]]))
            of_sequence.append(of_layer)
        falls.append(of_sequence)
    return torch.tensor(falls)


def mean_outputs(model: PreTrainedModel, rows: Tensor) -> list[Tensor]:
    """Return for each layer the mean input of the output projection, over all positions of all sequences."""
    model = parts.eager_copy(model)
    seen: list[list[Tensor]] = [[] for _ in parts.layers(model)]
    for layer, attention in enumerate(parts.attentions(model)):
        projection = parts.output_projection(model, attention)
        projection.register_forward_pre_hook(lambda _, args, layer=layer: seen[layer].append(args[0][0]))
    for tokens in rows:
        model(tokens[None])
    return [torch.cat(z).mean(0) for z in seen]


def total(setup: Setup, layer: int, head: int, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    with replaced(setup, layer, head, means):
        return states(setup)


def direct(setup: Setup, layer: int, head: int, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    change = added(setup, layer, head, means) - added(setup, layer)
    block = parts.layers(setup.model)[setup.layer]
    hook = block.register_forward_pre_hook(lambda _, args: (args[0] + change, *args[1:]))
    result = states(setup)
    hook.remove()
    return result


def added(setup: Setup, layer: int, head: int | None = None, means: list[Tensor] | None = None) -> Tensor:
    """Return what a layer's attention adds to the residual stream, perhaps with one head replaced."""
    block = parts.layers(setup.model)[layer]
    module = getattr(block, parts.names(setup.model).attention)
    if setup.model.config.model_type == "gemma3_text":
        module = block.post_attention_layernorm
    seen = []

    def record(_: nn.Module, args: tuple, output: Tensor | tuple) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    hook = module.register_forward_hook(record)
    with replaced(setup, layer, head, means):
        setup.model(setup.tokens[None])
    hook.remove()
    return seen[0]


@contextmanager
def replaced(setup: Setup, layer: int, head: int | None, means: list[Tensor] | None):
    """Replace the z of one head by its mean at every position."""
    projection = parts.output_projection(setup.model, list(parts.attentions(setup.model))[layer])

    def replace(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        z = args[0].clone()
        if head is not None:
            width = z.shape[-1] // setup.n_heads
            z[..., head * width : (head + 1) * width] = means[layer][head * width : (head + 1) * width]
        return (z,)

    hook = projection.register_forward_pre_hook(replace)
    yield
    hook.remove()


def states(setup: Setup) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of the later head's layer as attention gets them: [1, head, pos, d_head]."""
    seen = []
    with attention_function(setup, lambda states: seen.append(states) or states):
        setup.model(setup.tokens[None])
    return seen[0]


def score(setup: Setup, on: str, state: Tensor) -> float:
    """Return the later head's score with keys (queries, values) of its layer in place of the model's."""

    def edit(states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(state if number == STATES[on] else old for number, old in enumerate(states))

    attention = list(parts.attentions(setup.model))[setup.layer]
    seen = []
    hook = parts.output_projection(setup.model, attention).register_forward_pre_hook(lambda _, args: seen.append(args))
    with attention_function(setup, edit):
        pattern = setup.model(setup.tokens[None], output_attentions=True).attentions[setup.layer][0, setup.head]
    hook.remove()
    if on != "value":
        return prefix_score(pattern, setup.period, "successor", setup.bos)
    z = parts.split_heads(seen[0][0][0], setup.n_heads)[setup.head]
    written, nothing = (
        parts.head_output(setup.model, attention, setup.head, part) for part in (z, torch.zeros_like(z))
    )
    return logit_of_the_token_that_followed(
        setup, parts.unembed(setup.model, written) - parts.unembed(setup.model, nothing)
    )


def logit_of_the_token_that_followed(setup: Setup, logits: Tensor) -> float:
    """Return its mean over the queries, less the mean logit of the tokens so far."""
    first = 0 if setup.bos else 1
    raised = []
    for j in range(setup.period + 1, 4 * setup.period + 1):
        here, followed = j - first, keys(j, setup.period, "offset")[0] - first
        so_far = [logits[here, token].item() for token in setup.tokens[: here + 1]]
        raised.append(logits[here, setup.tokens[followed]].item() - sum(so_far) / len(so_far))
    return sum(raised) / len(raised)


@contextmanager
def attention_function(setup: Setup, edit):
    """Let a function see and edit queries, keys and values in the later head's layer."""
    attention = list(parts.attentions(setup.model))[setup.layer]
    module = sys.modules[type(attention).__module__]
    original = module.eager_attention_forward

    def watched(called: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args, **options):
        if called is attention:
            query, key, value = edit((query, key, value))
        return original(called, query, key, value, *args, **options)

    module.eager_attention_forward = watched
    try:
        yield
    finally:
        module.eager_attention_forward = original
