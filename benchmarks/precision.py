"""Effect of 16-bit weights and arithmetic on every score, compared with float32 from the same weights.

Weights are rounded to the format and everything is computed in it, except what headcount always computes in float32
(softmax of patterns, reductions, importance). One process, the same sequences and documents throughout.
"""

import argparse
from typing import Any

from headcount.importance import accuracy, ffn_importance, head_importance, load_task
from headcount.induction import copying, prefix_matching, repeated_tokens
from headcount.stats.compare import spearman
from headcount.tracing import load_model


def all_scores(name: str, dtype: str, device: str, sequences: int, examples: int) -> dict[str, Any]:
    """Return every score of a model in a format."""
    model = load_model(name, dtype=dtype, device_map=device)
    tokens = repeated_tokens(model, period=25, n_sequences=sequences)
    scores: dict[str, Any] = {
        "prefix matching": prefix_matching(model, tokens, period=25),
        "copying": copying(model, tokens),
    }
    for task, shots in (("key_value", 5), ("antonym", 5)):
        loaded = load_task(task)
        scores[f"accuracy, {task}"] = accuracy(model, loaded, shots=shots, limit=examples)
        examples_of_task = loaded.examples(shots=shots, limit=examples)
        scores[f"head importance, {task}"] = head_importance(model, examples_of_task)
        scores[f"FFN importance, {task}"] = ffn_importance(model, loaded, shots=shots, limit=examples)
    return scores


def row(title: str, exact: Any, rounded: Any) -> str:
    if title.startswith("accuracy"):
        error = (exact.gold_log_p - rounded.gold_log_p).abs()
        return (
            f"| {title} | {exact.value:.3f} | {rounded.value:.3f} | log p: {error.max():.1e} | {error.mean():.1e} | |"
        )
    error, n = (exact.values - rounded.values).abs(), exact.values.numel()
    rho = f"{spearman(exact, rounded, resamples=0).rho:.4f}" if n > 2 else ""
    highest = f"{exact.values.max():.3g} | {rounded.values.max():.3g}"
    return f"| {title} | {highest} | {error.max():.1e} | {error.mean():.1e} | {rho} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--examples", type=int, default=20)
    options = parser.parse_args()
    exact = all_scores(options.model, "float32", options.device, options.sequences, options.examples)
    for dtype in ("bfloat16", "float16"):
        rounded = all_scores(options.model, dtype, options.device, options.sequences, options.examples)
        print(f"\n{options.model}, {dtype} compared with float32\n")
        print(
            "| score | highest, float32 | highest, rounded | largest difference | mean difference | rank correlation |"
        )
        print("|---|---|---|---|---|---|")
        for title, result in exact.items():
            print(row(title, result, rounded[title]), flush=True)


if __name__ == "__main__":
    main()
