"""Time of all pattern scores of the head atlas over that of one plain forward pass; TransformerLens as the peer.

A published shape, by default OPT-125m's, with random weights; one sequence of 401 tokens (period 100, 4 repeats, BOS).
Runs alternate, so that noise reaches both alike; ratios are of the least CPU times.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from common import published_shape
from prefix_matching import allocated, repeated

from headcount.induction.formulas.head_detectors import DETECTORS
from headcount.induction.passes.atlas import detectors_pass
from headcount.tracing import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", default="facebook/opt-125m")
    parser.add_argument("--peer", action="store_true", help="also TransformerLens' cache and detect_head, three scores")
    options = parser.parse_args()
    model = published_shape(options.model)
    tokens = repeated(100)
    works = {"plain": lambda: plain(model, tokens), "atlas": lambda: scores(model, tokens)}
    works["atlas with examples"] = lambda: scores(model, tokens, examples=True)
    if options.peer:
        bridge = transformer_lens_model(options.model)
        works["TransformerLens, 3 scores"] = lambda: detect_three(bridge, tokens)
    least = interleaved_minima(works, options.rounds)
    for name, seconds in least.items():
        print(f"{name}: {seconds:.3f} s of CPU time, {seconds / least['plain']:.3f} of the plain pass")
    extra = [
        allocated(lambda n=n: scores(model, repeated(n))) - allocated(lambda n=n: plain(model, repeated(n)))
        for n in (100, 400)
    ]
    print(f"peak of what exists at once: see the test; allocations at 1601 / at 401 tokens: {extra[1] / extra[0]:.2f}")


def plain(model: Model, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        model.hf.model(input_ids=tokens, use_cache=False)


def scores(model: Model, tokens: torch.Tensor, *, examples: bool = False) -> None:
    detectors_pass(model, list(tokens), [(detector, False) for detector in DETECTORS], "auto", examples=examples)


def transformer_lens_model(name: str) -> Any:
    """Return TransformerLens' own model of the same shape, with random weights."""
    from transformer_lens import HookedTransformer
    from transformer_lens.loading_from_pretrained import get_pretrained_model_config

    return HookedTransformer(get_pretrained_model_config(name), move_to_device=False)


def detect_three(bridge: Any, tokens: torch.Tensor) -> None:
    from transformer_lens.head_detector import detect_head

    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens, remove_batch_dim=True)
        for detector in ("previous_token_head", "duplicate_token_head", "induction_head"):
            detect_head(bridge, tokens, detector, cache=cache)


def interleaved_minima(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the least CPU time of each work over rounds in which they take turns."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - start)
    return least


if __name__ == "__main__":
    main()
