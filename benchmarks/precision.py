"""What 16-bit weights and arithmetic do to every score, against float32 from the same weights.

Weights are rounded to the format and everything is computed in it, apart from what headcount always computes in float32
(softmax of patterns, reductions, importance). One process, the same sequences and documents throughout.
"""

import argparse
from typing import Any

from headcount.importance import accuracy, ffn_importance, head_importance, load_task
from headcount.induction import copying, prefix_matching, repeated_tokens
from headcount.stats.compare import spearman
from headcount.tracing import load_model


def everything(name: str, dtype: str, device: str, sequences: int, examples: int) -> dict[str, Any]:
    """Every score of a model in a format."""
    model = load_model(name, dtype=dtype, device_map=device)
    tokens = repeated_tokens(model, period=25, n_sequences=sequences)
    found: dict[str, Any] = {
        "prefix matching": prefix_matching(model, tokens, period=25),
        "copying": copying(model, tokens),
    }
    for task, shots in (("key_value", 5), ("antonym", 5)):
        loaded = load_task(task)
        found[f"accuracy, {task}"] = accuracy(model, loaded, shots=shots, limit=examples)
        chosen = loaded.examples(shots=shots, limit=examples)
        found[f"head importance, {task}"] = head_importance(model, chosen)
        found[f"FFN importance, {task}"] = ffn_importance(model, loaded, shots=shots, limit=examples)
    return found


def row(what: str, exact: Any, rounded: Any) -> str:
    if what.startswith("accuracy"):
        gone = (exact.gold_log_p - rounded.gold_log_p).abs()
        return f"| {what} | {exact.value:.3f} | {rounded.value:.3f} | log p: {gone.max():.1e} | {gone.mean():.1e} | |"
    away, n = (exact.values - rounded.values).abs(), exact.values.numel()
    rho = f"{spearman(exact, rounded, resamples=0).rho:.4f}" if n > 2 else ""
    highest = f"{exact.values.max():.3g} | {rounded.values.max():.3g}"
    return f"| {what} | {highest} | {away.max():.1e} | {away.mean():.1e} | {rho} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--examples", type=int, default=20)
    given = parser.parse_args()
    exact = everything(given.model, "float32", given.device, given.sequences, given.examples)
    for dtype in ("bfloat16", "float16"):
        rounded = everything(given.model, dtype, given.device, given.sequences, given.examples)
        print(f"\n{given.model}, {dtype} against float32\n")
        print(
            "| score | highest, float32 | highest, rounded | largest difference | mean difference | rank correlation |"
        )
        print("|---|---|---|---|---|---|")
        for what, result in exact.items():
            print(row(what, result, rounded[what]), flush=True)


if __name__ == "__main__":
    main()
