"""Time of the function-vector effect over forward passes on its prompts; of a step of gates over a gradient step.

SmolLM2-135M-Instruct in float32 on 5-shot prompts of a word list, the same prompts on both sides.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import ratios, report

from headcount.importance import Example, head_importance, load_task
from headcount.importance.ablation.reference import reference_means
from headcount.importance.attribution.function_vector_passes import patched_effects
from headcount.importance.attribution.gate_passes import fit_gates
from headcount.importance.evaluation import encode_examples
from headcount.importance.likelihoods.encoding import EncodedRequest
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.tracing import Model, load_model


def patch_ratios(model: Model, requests: list[EncodedRequest], pairs: int) -> list[float]:
    """Return the time of the effects of all heads over that of as many forward passes on the same prompts."""
    means = reference_means(model, requests, "last").heads
    n_heads = model.sizes.n_layers * model.sizes.n_heads
    work = ratios(
        lambda: patched_effects(model, requests, means),
        lambda: log_likelihoods(model, [[request] for request in requests]),
        pairs,
    )
    return [ratio / n_heads for ratio in work]


def step_ratios(model: Model, examples: list[Example], requests: list[EncodedRequest], pairs: int) -> list[float]:
    """Return the time of a step of gates over that of head importance from gradients, on the same batch."""
    means = reference_means(model, requests).heads
    start = torch.full((model.sizes.n_layers, model.sizes.n_heads), 2.0)
    step: Callable[[], Any] = lambda: fit_gates(model, [requests], start, means, 0.003, 1.0)  # noqa: E731
    return ratios(step, lambda: head_importance(model, examples, batch_size=len(examples)), pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="antonym")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    model = load_model(dtype="float32")
    task = load_task(options.task)
    examples = task.examples(5, options.limit)
    requests = encode_examples(model, examples, task.encoding)
    report("a step of gates / a gradient step", step_ratios(model, examples, requests, options.pairs))
    report(
        "function-vector effect of all heads / a forward pass for each head",
        patch_ratios(model, requests, max(2, options.pairs // 4)),
    )


if __name__ == "__main__":
    main()
