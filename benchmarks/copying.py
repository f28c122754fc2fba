"""Time of copying of all heads, compared with the published computation.

Shape of OPT-125m, random weights, 101 tokens. The published computation (a full-vocabulary softmax, loops over heads
and positions) is the one in tests/reference, written from the paper's description.
"""

import argparse
import sys
from pathlib import Path

import torch
from common import published_shape, seconds

from headcount.induction import copying

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from reference.published_copying import published_copying


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    model = published_shape()
    pick = torch.Generator().manual_seed(0)
    tokens = torch.cat([torch.tensor([2]), torch.randperm(50000, generator=pick)[:100] + 5])[None]
    copying(model, tokens, "published")
    for _ in range(pairs):
        fast = min(seconds(lambda: copying(model, tokens, "published")) for _ in range(3))
        slow = seconds(lambda: published_copying(model.hf, tokens[0]))
        print(
            f"published computation / copying, 101 tokens: {slow / fast:.0f} ({slow:.1f} s / {fast:.3f} s)",
            flush=True,
        )
    difference = copying(model, tokens, "published").values - published_copying(model.hf, tokens[0])
    print(f"largest difference of a score: {difference.abs().max():.1e}")


if __name__ == "__main__":
    main()
