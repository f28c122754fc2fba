"""The results that a study adds to a run, synthetic: curves, a grid, and every table of its analyses."""

from collections.abc import Sequence
from itertools import combinations
from math import nan
from typing import Any

import torch

from headcount.results import PruningCurve, PruningGrid, Run, SetEffects, Table

RANKINGS = ("own", "mean", "most", "least", "recomputed", "random")
RHO = {"rho": 0.5, "low": 0.4, "high": 0.6, "null_low": 0.0, "null_high": 0.2, "p_value": 1e-3, "n": 270}
KINDS = (("spearman", None), ("spearman", "layer"), ("argsort", None))


def add_study(run: Run, n_layers: int, n_heads: int, tasks: Sequence[str], shots: Sequence[int] = (0, 1)) -> Run:
    """Add everything that `headcount study` writes besides induction and importance."""
    for task in tasks:
        for count in shots:
            for ranking in RANKINGS:
                run.save(f"pruning/heads/{task}.{count}shot.{ranking}", _curve("heads", n_layers * n_heads, ranking))
                run.save(f"pruning/ffns/{task}.{count}shot.{ranking}", _curve("ffns", n_layers, ranking))
            run.save(f"pruning/grid/{task}.{count}shot", _grid())
            for score in ("prefix_matching", "copying"):
                run.save(f"analyses/capacity/{score}.{task}.{count}shot", _capacity(n_layers * n_heads))
    run.save(f"causes/mean/{tasks[0]}.{shots[-1]}shot", set_effects(n_layers, n_heads))
    run.save(f"verdicts/mean/{tasks[0]}.{shots[-1]}shot", Table.of(verdict_rows(n_heads), n_documents=40))
    for count in shots:
        for name, rows in _at_shots(tasks).items():
            run.save(f"analyses/{name}.{count}shot", Table.of(rows))
    for name, rows in _across(n_layers, tasks, shots).items():
        run.save(f"analyses/{name}", Table.of(rows))
    return run


def _curve(component: str, parts: int, ranking: str) -> PruningCurve:
    generator = torch.Generator().manual_seed(parts)
    strategy = ranking if ranking in ("random", "recomputed") else "static"
    percents = tuple(range(0, 100, 10))
    counts = tuple(percent * parts // 100 for percent in percents)
    seeds = (0, 1, 2) if ranking == "random" else (0,)
    size = (len(seeds), len(percents), 40)
    falling = torch.linspace(0.9, 0.3, len(percents))[:, None]
    correct = (torch.rand(size, generator=generator) < falling).float()
    order = torch.arange(parts).repeat(len(seeds), 1)
    log_p = -torch.rand(size, generator=generator)
    sizes = tuple(count * 24_576.0 for count in counts)
    return PruningCurve(component, strategy, percents, counts, sizes, seeds, order, correct, log_p, log_p, 0.25, nan)


def set_effects(n_layers: int, n_heads: int, documents: int = 40) -> SetEffects:
    """Return effects of two kinds of heads: one is needed, and the other only goes along."""
    generator = torch.Generator().manual_seed(2)
    kinds, percents, draws = ("importance", "induction"), (2.0, 5.0, 10.0, 20.0), 6
    sets = [(kind, percent, alone) for percent in percents for kind in kinds for alone in (False, True)]
    heads = torch.zeros(len(sets), n_layers, n_heads)
    right = torch.full((len(sets), draws), 0.55)
    for number, (kind, percent, alone) in enumerate(sets):
        heads[number].view(-1)[: max(1, int(percent * n_layers * n_heads / 100) - alone)] = 1
        needed = kind == "importance" or not alone
        right[number, 0] = 0.55 - (0.3 + percent / 100 if needed else 0.02)
        right[number, 1:] -= percent / 200
    chance = torch.rand(len(sets), draws, documents, generator=generator)
    greedy = (chance < right[..., None]).float()
    log_p = -0.5 - 3 * (1 - right)[..., None] - 0.1 * chance
    whole = (torch.rand(documents, generator=generator) < 0.6).float()
    return SetEffects(
        *(tuple(column) for column in zip(*sets, strict=True)),
        heads, (greedy + chance > 0.3).float(), greedy, log_p, whole, whole, whole - 2, {"task": "antonym"},
    )  # fmt: skip


def verdict_rows(n_heads: int) -> list[dict[str, Any]]:
    """Return the rows of a table of verdicts, one of each."""
    names = ("primary", "secondary", "correlate", "interferer", "undecided")
    effects = {"alone": 0.4, "alone_low": 0.3, "alone_high": 0.5, "alone_p": 1e-4}
    effects |= {"beyond": 0.38, "beyond_low": 0.27, "beyond_high": 0.49, "beyond_p": 1e-3}
    effects |= {"within": 0.2, "within_low": -0.1, "within_high": 0.5, "within_p": 0.2}
    heads = [{"kind": "induction", "layer": 1, "head": place % n_heads} for place in range(len(names))]
    pairs = zip(heads, names, strict=True)
    return [head | {"score": 0.9, "verdict": verdict} | effects for head, verdict in pairs]


def _grid() -> PruningGrid:
    generator = torch.Generator().manual_seed(0)
    across, down = tuple(range(0, 80, 10)), tuple(range(0, 60, 10))
    correct = (torch.rand(len(down), len(across), 40, generator=generator) < 0.7).float()
    return PruningGrid(down, across, ((1000,) * len(across),) * len(down), correct, correct, correct, 0.25, 0.5)


def _capacity(heads: int) -> Table:
    counts = sorted({round(heads * step / 100) for step in range(101)})
    names = ("retained", "low", "high", "null_mean", "null_low", "null_high")
    return Table.of({"removed": at} | dict.fromkeys(names, 100 - 100 * at / heads) for at in counts)


def _at_shots(tasks: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables that exist for each number of shots."""
    pairs = [{"a": a, "b": b} for a, b in combinations([*tasks, "mean"], 2)]
    kinds = [RHO | {"variant": variant, "within": within} for variant, within in KINDS]
    shared = {"fraction": 0.7, "low": 0.6, "high": 0.8, "chance": 0.3, "null_mean": 0.5, "n_top": 81, "p_value": 1e-9}
    halves = {"rho": 0.975, "corrected": 0.987, "lowest": 0.97, "highest": 0.98, "halvings": 20}
    agreement = RHO | {"variant": "spearman", "within": None, "overlap": 0.28, "overlap_chance": 0.3}
    unknown = RHO | {"variant": "spearman", "within": None, "null_low": nan, "null_high": nan}
    return {
        "heads/correlations": [pair | kind for kind in kinds for pair in pairs],
        "ffns/correlations": [pair | unknown for pair in pairs],
        "heads/order": [{"place": place, "task": task} for place, task in enumerate(reversed(tasks))],
        "heads/overlaps": [pair | shared for pair in pairs],
        "heads/reliability": [{"task": task, **halves} for task in tasks],
        "agreement": [{"task": task, "score": score, **agreement} for task in tasks for score in ("copying",)],
    }


def _across(n_layers: int, tasks: Sequence[str], shots: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables that exist once."""
    kinds = [{"variant": variant, "within": within} for variant, within in KINDS]
    pairs = [{"shots_a": a, "shots_b": b} for a, b in combinations(shots, 2)]
    scores = [("prefix_matching", "", None), *(("head_importance", task, count) for task in tasks for count in shots)]
    layer = {"value": 2e-4, "stderr": None, "share": 1 / n_layers}
    claim = {name: name for name in ("claim", "criterion", "evidence", "published", "source")}
    return {
        "heads/across_shots": [
            {"task": task, **pair, **RHO, **kind} for kind in kinds for pair in pairs for task in tasks
        ],
        "heads/across_shots_summary": [
            {**pair, "mean": 0.4, "variance": 0.001, "n": len(tasks), **kind} for kind in kinds for pair in pairs
        ],
        "layers": [
            {"measure": measure, "task": task, "shots": count, "layer": at, **layer}
            for measure, task, count in scores
            for at in range(n_layers)
        ],
        "gradient_and_oracle": [
            {"setting": f"{tasks[0]}.0shot", **RHO, "within": within, "overlap": 0.6, "overlap_chance": 0.3}
            for within in (None, "layer")
        ],
        "claims": [claim | {"verdict": verdict} for verdict in ("holds", "undecided", "undecided")],
    }
