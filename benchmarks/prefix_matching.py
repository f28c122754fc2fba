"""Time of scores of all heads from their patterns over that of one plain forward pass, the least that any method needs.

Prefix matching, or with --atlas all pattern scores of the head atlas. A published shape, by default OPT-125m's, with
random weights; sequences of 401 tokens (period 100, 4 repeats, BOS), by default one.
"""

import argparse
import copy
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from common import published_shape, ratios, report

from headcount.induction import prefix_matching
from headcount.induction.formulas.head_detectors import DETECTORS
from headcount.induction.passes.atlas import detectors_pass
from headcount.tracing import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--model", default="facebook/opt-125m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--atlas", action="store_true", help="the head atlas's scores, by the least CPU times")
    parser.add_argument("--peer", action="store_true", help="with --atlas: also TransformerLens' three detectors")
    options = parser.parse_args()
    model = published_shape(options.model, options.device, getattr(torch, options.dtype))
    tokens = repeated(100).repeat(options.sequences, 1)
    if options.atlas:
        atlas(model, tokens, options.pairs, peer=options.peer)
        return

    def scores() -> None:
        prefix_matching(model, tokens, 100)

    report(
        "prefix matching / plain SDPA forward without unembedding, 401 tokens",
        ratios(scores, lambda: plain(model, tokens), options.pairs),
    )
    small, large = extra_bytes(model, 100), extra_bytes(model, 400)
    megabytes = f"{large / 1e6:.1f} MB / {small / 1e6:.1f} MB"
    print(f"extra allocations at 1601 tokens / at 401: {large / small:.2f} ({megabytes})")


def plain(model: Model, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        model.hf.model(input_ids=tokens.to(model.device), use_cache=False)


def atlas(model: Model, tokens: torch.Tensor, rounds: int, *, peer: bool) -> None:
    """Print the least CPU times of the atlas's pass, the plain pass and the peer, which take turns."""
    detectors = [(detector, False) for detector in DETECTORS]
    works: dict[str, Callable[[], Any]] = {
        "plain forward without unembedding": lambda: plain(model, tokens),
        f"{len(detectors)} scores": lambda: detectors_pass(model, list(tokens), detectors, "auto"),
        "the same with examples": lambda: detectors_pass(model, list(tokens), detectors, "auto", examples=True),
    }
    if peer:
        works["TransformerLens: a cache of patterns, and detect_head three times"] = three_of_the_peer(model, tokens)
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - start)
    base = next(iter(least.values()))
    for name, seconds in least.items():
        print(f"{name}: {seconds:.3f} s of CPU time, {seconds / base:.3f} of the plain pass ({rounds} rounds)")


def three_of_the_peer(model: Model, tokens: torch.Tensor) -> Callable[[], None]:
    """Return the work of TransformerLens on the same model: its patterns, and each of its three detectors."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformer_lens.head_detector import detect_head
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "a")  # it wants a tokenizer, and never uses it
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0})), **special)
    bridge = TransformerBridge.boot_transformers("peer", hf_model=copy.deepcopy(model.hf), tokenizer=tokenizer)
    of_text = SimpleNamespace(cfg=bridge.cfg, to_tokens=lambda text: tokens[:1])

    def work() -> None:
        with torch.no_grad():
            patterns = {"names_filter": lambda name: name.endswith("hook_pattern"), "remove_batch_dim": True}
            _, cache = bridge.run_with_cache(tokens[:1], **patterns)
            for detector in ("previous_token_head", "duplicate_token_head", "induction_head"):
                detect_head(of_text, "", detector, cache=cache)

    return work


def repeated(period: int) -> torch.Tensor:
    """Return BOS and a random sequence, four times."""
    once = torch.randperm(50000, generator=torch.Generator().manual_seed(0))[:period] + 5
    return torch.cat([torch.tensor([2]), once.repeat(4)])[None]


def extra_bytes(model: Model, period: int) -> int:
    """Return the bytes that the measurement allocates beyond those of the plain forward pass, freed or not."""
    tokens = repeated(period).to(model.device)
    return allocated(lambda: prefix_matching(model, tokens, period)) - allocated(lambda: plain(model, tokens))


def allocated(work: Callable[[], None]) -> int:
    """Return all bytes allocated during a call: by torch's profiler; on a GPU by its allocator."""
    work()
    if torch.cuda.is_initialized():
        before = torch.cuda.memory_stats()["allocated_bytes.all.allocated"]
        work()
        return int(torch.cuda.memory_stats()["allocated_bytes.all.allocated"] - before)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    return sum(max(0, event.self_cpu_memory_usage) for event in profile.events())


if __name__ == "__main__":
    main()
