"""Scores of one and two layers of OPT-66B's width: d_model 9216, 72 heads, d_mlp 36864, random weights.

Scores of every head are compared with plain loops over eager attention with the same weights; time and peak memory are
printed. The embedding has OPT-66B's size, too; two layers in bfloat16 take 5 GB.
"""

import resource
import time

import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from headcount.induction import copying, prefix_matching
from headcount.tracing import Model, load_model

PERIOD = 8
SHAPE = {"hidden_size": 9216, "word_embed_proj_dim": 9216, "num_attention_heads": 72, "ffn_dim": 36864}


def main() -> None:
    for n_layers, dtype in ((1, torch.float32), (1, torch.bfloat16), (2, torch.bfloat16)):
        model, build_time = timed(lambda n=n_layers, d=dtype: opt(n, d))
        repeated, distinct = tokens()
        prefix, prefix_time = timed(lambda m=model, t=repeated: prefix_matching(m, t, PERIOD).values)
        copied, copying_time = timed(lambda m=model, t=distinct: copying(m, t).values)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        errors = largest(prefix - plain_prefix(model, repeated)), largest(copied - plain_copying(model, distinct))
        print(f"{n_layers} layers in {dtype}, built and checked in {build_time:.1f} s, peak memory {peak:.1f} GB")
        print(f"  prefix matching of {repeated.shape[1]} tokens {prefix_time:.1f} s, copying {copying_time:.1f} s")
        print(f"  largest difference from plain loops {errors[0]:.1e} and {errors[1]:.1e}")
        print(f"  highest scores {prefix.max():.3f} and {copied.max():.3f}", flush=True)
        del model


def largest(values: Tensor) -> float:
    return float(values.abs().max())


def opt(n_layers: int, dtype: torch.dtype) -> Model:
    config = OPTConfig(vocab_size=50272, num_hidden_layers=n_layers, do_layer_norm_before=True, **SHAPE)
    with torch.device("meta"):
        hf = OPTForCausalLM(config).to(dtype)
    hf = hf.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in hf.named_parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(0, 0.02, generator=generator)
        else:
            parameter.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    hf.tie_weights()
    return load_model(hf.eval().requires_grad_(False))


def tokens() -> tuple[Tensor, Tensor]:
    """Return BOS and tokens that repeat four times; BOS and distinct tokens."""
    drawn = torch.randperm(50000, generator=torch.Generator().manual_seed(0))[: 4 * PERIOD] + 5
    bos = torch.tensor([2])
    return torch.cat([bos, drawn[:PERIOD].repeat(4)])[None], torch.cat([bos, drawn])[None]


def plain_prefix(model: Model, ids: Tensor) -> Tensor:
    """Return the mean over queries of the attention to the successors of earlier occurrences of the query's token."""
    model.hf.set_attn_implementation("eager")
    patterns = model.hf(input_ids=ids, output_attentions=True, use_cache=False).attentions
    model.hf.set_attn_implementation("sdpa")
    row, n = ids[0].tolist(), ids.shape[1]
    scores = []
    for pattern in patterns:
        shares = []
        for query in range(PERIOD + 1, n):
            after = [key + 1 for key in range(1, query) if row[key] == row[query]]
            shares.append(sum(pattern[0, :, query, key].float() for key in after))
        scores.append(sum(shares) / len(shares))
    return torch.stack(scores)


def plain_copying(model: Model, ids: Tensor) -> Tensor:
    """Return how far each head raises, on the embeddings, the most attended of the tokens that it can attend to."""
    decoder, unembed = model.hf.model.decoder, model.hf.lm_head.weight[ids[0]].float()
    mask = torch.ones_like(ids)
    embedded = decoder.embed_tokens(ids) + decoder.embed_positions(mask, 0)
    scores = []
    for layer in decoder.layers:
        attention = layer.self_attn
        x = layer.self_attn_layer_norm(embedded)
        q, k, v = (
            part(x)[0].float().unflatten(-1, (72, 128))
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        scores.append(torch.stack([copying_of_head(head, q, k, v, attention.out_proj, unembed) for head in range(72)]))
    return torch.stack(scores)


def copying_of_head(head: int, q: Tensor, k: Tensor, v: Tensor, out: torch.nn.Linear, unembed: Tensor) -> Tensor:
    w_o = out.weight[:, 128 * head : 128 * (head + 1)].float()
    shares = []
    for query in range(1, len(q)):
        logits = k[: query + 1, head] @ q[query, head] * 128**-0.5
        written = w_o @ (logits.softmax(0) @ v[: query + 1, head]) + out.bias.float()
        rise = (unembed[: query + 1] @ written).softmax(0)
        rise = (rise - rise.mean()).relu()
        shares.append(rise[logits.argmax()] / rise.sum() if rise.sum() > 0 else torch.tensor(0.0))
    return sum(shares) / len(shares)


def timed(work):  # type: ignore[no-untyped-def]
    """Return the result of a call, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    with torch.no_grad():
        main()
