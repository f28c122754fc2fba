"""Time of head importance from other baselines over that from zero, and of verified heads over the oracle.

SmolLM2-135M-Instruct in float32 on a word list at 5 shots: the same examples, in turn.
"""

import argparse

from common import ratios, report

from headcount.importance import head_importance, load_task
from headcount.tracing import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="antonym")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=["mean", "resample", "patch", "verified", "oracle"])
    options = parser.parse_args()
    model, task = load_model(dtype="float32"), load_task(options.task)
    examples = task.examples(shots=5, limit=options.limit)

    def published() -> None:
        head_importance(model, examples)

    for baseline in ("mean", "resample", "patch"):
        if baseline in options.only:
            times = ratios(
                lambda kind=baseline: head_importance(model, examples, reduction="drop", baseline=kind),
                published,
                options.pairs,
            )
            report(f"from {baseline} / from zero", times)
    if "verified" in options.only:
        times = ratios(
            lambda: head_importance(model, examples, "verified"),
            lambda: head_importance(model, examples, "oracle"),
            max(2, options.pairs // 5),
        )
        report("verified / oracle", times)


if __name__ == "__main__":
    main()
