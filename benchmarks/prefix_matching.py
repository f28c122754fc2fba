"""Time of prefix matching of all heads over that of one plain forward pass, the least that any method needs.

A published shape, by default OPT-125m's, with random weights; sequences of 401 tokens (period 100, 4 repeats, BOS), by
default one.
"""

import argparse

import torch
from common import published_shape, ratios, report

from headcount.induction import prefix_matching
from headcount.tracing import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--model", default="facebook/opt-125m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sequences", type=int, default=1)
    options = parser.parse_args()
    model = published_shape(options.model, options.device, getattr(torch, options.dtype))
    tokens = repeated(100).repeat(options.sequences, 1)
    on_device = tokens.to(model.device)

    def scores() -> None:
        prefix_matching(model, tokens, 100)

    def plain() -> None:
        with torch.no_grad():
            model.hf.model(input_ids=on_device, use_cache=False)

    report("prefix matching / plain SDPA forward without unembedding, 401 tokens", ratios(scores, plain, options.pairs))
    small, large = extra_bytes(model, 100), extra_bytes(model, 400)
    megabytes = f"{large / 1e6:.1f} MB / {small / 1e6:.1f} MB"
    print(f"extra allocations at 1601 tokens / at 401: {large / small:.2f} ({megabytes})")


def repeated(period: int) -> torch.Tensor:
    """Return BOS and a random sequence, four times."""
    once = torch.randperm(50000, generator=torch.Generator().manual_seed(0))[:period] + 5
    return torch.cat([torch.tensor([2]), once.repeat(4)])[None]


def extra_bytes(model: Model, period: int) -> int:
    """Return the bytes that the measurement allocates beyond those of the plain forward pass, freed or not."""
    tokens = repeated(period).to(model.device)

    def plain() -> None:
        with torch.no_grad():
            model.hf.model(input_ids=tokens, use_cache=False)

    return allocated(lambda: prefix_matching(model, tokens, period)) - allocated(plain)


def allocated(work) -> int:  # type: ignore[no-untyped-def]
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
