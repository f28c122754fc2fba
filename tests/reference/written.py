"""Scores of what heads write, by the plainest means in float64: copy suppression, succession, retrieval."""

import torch
from reference import parts
from reference.composition import gain
from torch import Tensor
from transformers import PreTrainedModel


def final_norm(model: PreTrainedModel):
    return next(
        getattr(parts.decoder(model), name)
        for name in ("final_layer_norm", "ln_f", "norm")
        if hasattr(parts.decoder(model), name)
    )


def is_rms(model: PreTrainedModel) -> bool:
    return "rms_norm_eps" in model.config.to_dict()


def epsilon(norm) -> float:
    return next(getattr(norm, name) for name in ("variance_epsilon", "eps") if hasattr(norm, name))


def scale(model: PreTrainedModel, norm, x: Tensor) -> Tensor:
    """The number by which a norm divides one vector."""
    x = x if is_rms(model) else x - x.mean()
    return (x.pow(2).mean() + epsilon(norm)).sqrt()


def states(model: PreTrainedModel, tokens: Tensor):
    """Patterns of all layers, residual streams before each layer and after the last, and what each attention reads."""
    inputs, streams, handles = [], [], []

    def record(seen: list):
        return lambda _, args, options: seen.append((args[0] if args else options["hidden_states"])[0])

    for block, attention in zip(parts.layers(model), parts.attentions(model), strict=True):
        handles.append(attention.register_forward_pre_hook(record(inputs), with_kwargs=True))
        handles.append(block.register_forward_pre_hook(record(streams), with_kwargs=True))

    def record_end(_, args, output):
        streams.append((output[0] if isinstance(output, tuple) else output).reshape(streams[0].shape))

    handles.append(parts.layers(model)[-1].register_forward_hook(record_end))
    with torch.no_grad():
        patterns = model(tokens[None], output_attentions=True, use_cache=False).attentions
    for handle in handles:
        handle.remove()
    return [pattern[0] for pattern in patterns], streams, inputs


@torch.no_grad()
def copy_suppression(model: PreTrainedModel, tokens: Tensor, k: int, queries: list[int]) -> Tensor:
    """Return [three, layer, head]: fall of predicted tokens, of other tokens, attention to predicted ones."""
    model = parts.eager_copy(model)
    patterns, streams, inputs = states(model, tokens)
    norm, head = final_norm(model), model.get_output_embeddings()
    kind, n_heads = model.config.model_type, model.config.num_attention_heads
    result = torch.zeros(3, len(patterns), n_heads, dtype=torch.float64)
    for layer, attention in enumerate(parts.attentions(model)):
        for place in range(n_heads):
            values = parts.head_values(model, attention, inputs[layer])[place]
            written = parts.head_output(model, attention, place, values)
            written = written - parts.head_output(model, attention, place, torch.zeros_like(values))
            for query in queries:
                predicted = set(head(norm(streams[layer][query])).topk(k).indices.tolist())
                divisor = scale(model, norm, streams[-1][query])
                for key in range(query + 1):
                    added = written[key]
                    if kind == "gemma3_text":
                        after = parts.layers(model)[layer].post_attention_layernorm
                        whole = attention_output(model, attention, patterns[layer], inputs[layer], query)
                        added = added * gain(after, kind) / scale(model, after, whole)
                    added = added if is_rms(model) else added - added.mean()
                    logits = head.weight @ (added * gain(norm, kind)) / divisor
                    fall = -(logits[tokens[key]] - logits.mean()) * patterns[layer][place, query, key]
                    hit = tokens[key].item() in predicted
                    result[0 if hit else 1, layer, place] += fall / len(queries)
                    result[2, layer, place] += hit * patterns[layer][place, query, key] / len(queries)
    return result


def attention_output(model, attention, pattern, x, query) -> Tensor:
    """What the output projection gives at one query."""
    values = parts.head_values(model, attention, x)
    z = torch.cat([pattern[place, query] @ values[place] for place in range(len(values))])
    return parts.output_projection(model, attention)(z)


@torch.no_grad()
def successor_hits(model: PreTrainedModel, tokens: list[int], bos: int | None) -> Tensor:
    """Return the place, among the tokens, of the highest logit that each head writes for each: [token, layer, head]."""
    model = parts.eager_copy(model)
    norm, head = final_norm(model), model.get_output_embeddings()
    kind, n_heads = model.config.model_type, model.config.num_attention_heads
    first = next(iter(parts.attentions(model)))
    hits = []
    for token in tokens:
        row = torch.tensor(([bos] if bos is not None else []) + [token])
        handle = parts.output_projection(model, first).register_forward_pre_hook(lambda _, args: (args[0] * 0,))
        _, streams, _ = states(model, row)
        handle.remove()
        of_layers = []
        for layer, attention in enumerate(parts.attentions(model)):
            before = parts.norm_before_attention(model, parts.layers(model)[layer])
            values = parts.head_values(model, attention, before(streams[min(layer, 1)]))[:, -1]
            of_heads = []
            for place in range(n_heads):
                written = parts.head_output(model, attention, place, values[place][None])
                written = (written - parts.head_output(model, attention, place, values[place][None] * 0))[0]
                if kind == "gemma3_text":
                    written = written * gain(parts.layers(model)[layer].post_attention_layernorm, kind)
                written = written if is_rms(model) else written - written.mean()
                of_heads.append(int((head.weight @ (written * gain(norm, kind)))[tokens].argmax()))
            of_layers.append(of_heads)
        hits.append(of_layers)
    return torch.tensor(hits)


@torch.no_grad()
def retrieval(model: PreTrainedModel, rows: Tensor, needle: Tensor) -> tuple[Tensor, Tensor]:
    """Return the score and the share without regard to what the model produces, [sequence, layer, head] each."""
    model = parts.eager_copy(model)
    scores, anyway = [], []
    for tokens, places in zip(rows, needle.tolist(), strict=True):
        output = model(tokens[None], output_attentions=True, use_cache=False)
        first = len(tokens) - len(places)
        hit, right = (torch.zeros(len(output.attentions), output.attentions[0].shape[1]) for _ in range(2))
        for number, place in enumerate(places):
            produced = output.logits[0, first + number].argmax() == tokens[place]
            for layer, pattern in enumerate(output.attentions):
                attended = pattern[0, :, first + number].argmax(-1) == place
                hit[layer] += attended / len(places)
                right[layer] += (attended & produced) / len(places)
        scores.append(right)
        anyway.append(hit)
    return torch.stack(scores), torch.stack(anyway)
