"""Structural removal: the speed-up of what is left, against the speed-up that its operations predict.

Layers of OPT-1.3B's shape with random weights; counted are matrix products (projections, attention, unembedding).
"""

import argparse
import statistics

import torch
import transformers
from common import ratios, say, seconds

from headcount.importance import load_task, prune_grid
from headcount.importance.evaluation import ask
from headcount.importance.likelihoods.score import forest, likelihoods
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
    """Multiplications of a pass over so many tokens in rows of this length, without these parts."""
    sizes = model.sizes
    projections = 4 * sizes.d_model * sizes.d_head
    attention = 2 * length * sizes.d_head
    left = int((~heads).sum())
    networks = int((~ffns).sum()) * 2 * sizes.d_model * sizes.d_mlp
    return tokens * (left * (projections + attention) + networks + sizes.d_model * sizes.vocab)


def removals(model: Model) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The same share of heads in every layer, and every other network."""
    sizes = model.sizes
    heads = torch.zeros(sizes.n_layers, sizes.n_heads, dtype=torch.bool)
    heads[:, : round(0.7 * sizes.n_heads)] = True
    ffns = torch.arange(sizes.n_layers) % 2 == 0
    none = torch.zeros_like(heads), torch.zeros_like(ffns)
    return {
        "70 % of heads gone": (heads, none[1]),
        "50 % of FFNs gone": (none[0], ffns),
        "both": (heads, ffns),
    }


def passes(pairs: int, n_layers: int, rows: int, length: int) -> None:
    """Forward passes of the whole and of the smaller models, in turn."""
    model = model_of(n_layers)
    tokens = torch.randint(4, 512, (rows, length))
    none = torch.zeros(n_layers, 32, dtype=torch.bool), torch.zeros(n_layers, dtype=torch.bool)
    whole = operations(model, tokens.numel(), length, *none)
    for name, gone in removals(model).items():
        small = pruned(model, *gone)
        predicted = whole / operations(model, tokens.numel(), length, *gone)
        with torch.no_grad():
            found = ratios(lambda: model.hf(tokens), lambda small=small: small.hf(tokens), pairs)
        say(f"{name}: speed-up (operations say {predicted:.2f})", found)
        print(f"    reached: {statistics.median(found) / predicted:.2f}", flush=True)


def grid(n_layers: int, limit: int) -> None:
    """A whole combined grid of one task, against one evaluation of the whole model and the operations that are left."""
    model, task = model_of(n_layers), load_task("plural")
    heads, ffns = HeadScores(torch.rand(n_layers, 32)), LayerScores(torch.rand(n_layers))
    asked = ask(model, task, 5, limit, 0)
    lengths = [len(tree.ids) for _, tree in forest(model, asked.tokens)]
    tokens, length = sum(lengths), round(sum(lengths) / len(lengths))
    likelihoods(model, asked.tokens)
    one = statistics.median(seconds(lambda: likelihoods(model, asked.tokens)) for _ in range(5))
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
    what = f"grid of {len(counts)} different points, {limit} documents, {tokens} tokens"
    print(f"{what}: {taken:.1f} s; operations say {share * one:.1f} s")
    print(f"    reached: {share * one / taken:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--limit", type=int, default=24)
    asked = parser.parse_args()
    passes(asked.pairs, asked.layers, asked.rows, asked.length)
    grid(asked.layers, asked.limit)


if __name__ == "__main__":
    main()
