"""Speed-up of pruned models, compared with the speed-up that the remaining operations predict.

Layers of OPT-1.3B's shape with random weights; operations are matrix products (projections, attention, unembedding).
"""

import argparse
import statistics

import torch
import transformers
from common import ratios, report, seconds

from headcount.importance import load_task, prune_grid
from headcount.importance.evaluation import encode_task
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.importance.likelihoods.tree_passes import document_trees
from headcount.results import HeadScores, LayerScores
from headcount.tracing import Model, load_model, pruned

TINY = load_model("tiny-opt").tokenizer


def model_of(n_layers: int) -> Model:
    config = transformers.OPTConfig(
        vocab_size=512,
        hidden_size=2048,
        word_embed_proj_dim=2048,
        num_hidden_layers=n_layers,
        num_attention_heads=32,
        ffn_dim=8192,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    return load_model(transformers.OPTForCausalLM(config).requires_grad_(False), tokenizer=TINY)


def operations(model: Model, tokens: int, length: int, heads: torch.Tensor, ffns: torch.Tensor) -> float:
    """Return the multiplications of a pass over tokens in rows of a length, without the removed parts."""
    sizes = model.sizes
    projections = 4 * sizes.d_model * sizes.d_head
    attention = 2 * length * sizes.d_head
    left = int((~heads).sum())
    networks = int((~ffns).sum()) * 2 * sizes.d_model * sizes.d_mlp
    return tokens * (left * (projections + attention) + networks + sizes.d_model * sizes.vocab)


def removals(model: Model) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return three removals: the same share of heads in every layer, every other network, and both."""
    sizes = model.sizes
    heads = torch.zeros(sizes.n_layers, sizes.n_heads, dtype=torch.bool)
    heads[:, : round(0.7 * sizes.n_heads)] = True
    ffns = torch.arange(sizes.n_layers) % 2 == 0
    none = torch.zeros_like(heads), torch.zeros_like(ffns)
    return {
        "70 % of heads removed": (heads, none[1]),
        "50 % of FFNs removed": (none[0], ffns),
        "both": (heads, ffns),
    }


def passes(pairs: int, n_layers: int, rows: int, length: int) -> None:
    """Time forward passes of the whole and of the pruned models, in turn."""
    model = model_of(n_layers)
    tokens = torch.randint(4, 512, (rows, length))
    none = torch.zeros(n_layers, 32, dtype=torch.bool), torch.zeros(n_layers, dtype=torch.bool)
    whole = operations(model, tokens.numel(), length, *none)
    for name, gone in removals(model).items():
        small = pruned(model, *gone)
        predicted = whole / operations(model, tokens.numel(), length, *gone)
        with torch.no_grad():
            speed_ups = ratios(lambda: model.hf(tokens), lambda small=small: small.hf(tokens), pairs)
        report(f"{name}: speed-up (operations predict {predicted:.2f})", speed_ups)
        print(f"    reached: {statistics.median(speed_ups) / predicted:.2f}", flush=True)


def grid(n_layers: int, limit: int) -> None:
    """Time a combined grid of one task; compare it with an evaluation of the model and the remaining operations."""
    model, task = model_of(n_layers), load_task("plural")
    heads, ffns = HeadScores(torch.rand(n_layers, 32)), LayerScores(torch.rand(n_layers))
    encoded = encode_task(model, task, 5, limit, 0)
    lengths = [len(tree.ids) for _, tree in document_trees(model, encoded.requests)]
    tokens, length = sum(lengths), round(sum(lengths) / len(lengths))
    log_likelihoods(model, encoded.requests)
    whole_time = statistics.median(seconds(lambda: log_likelihoods(model, encoded.requests)) for _ in range(5))
    none = torch.zeros(n_layers, 32, dtype=torch.bool), torch.zeros(n_layers, dtype=torch.bool)
    whole = operations(model, tokens, length, *none)
    counts = {
        (head * 32 * n_layers // 100, ffn * n_layers // 100) for head in range(0, 80, 10) for ffn in range(0, 60, 10)
    }  # in so few layers some points are the same, and are run once
    share = 0.0
    for head, ffn in counts:
        gone = none[0].clone().view(-1), none[1].clone()
        gone[0][heads.ranking()[:head]] = True
        gone[1][ffns.ranking()[:ffn]] = True
        share += operations(model, tokens, length, gone[0].view(n_layers, 32), gone[1]) / whole
    taken = seconds(lambda: prune_grid(model, task, heads, ffns, shots=5, limit=limit))
    title = f"grid of {len(counts)} different points, {limit} documents, {tokens} tokens"
    print(f"{title}: {taken:.1f} s; operations predict {share * whole_time:.1f} s")
    print(f"    reached: {share * whole_time / taken:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--limit", type=int, default=24)
    options = parser.parse_args()
    passes(options.pairs, options.layers, options.rows, options.length)
    grid(options.layers, options.limit)


if __name__ == "__main__":
    main()
