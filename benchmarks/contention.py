"""Time of copying and prefix matching beside two busy loops and alone, with threads that wait as headcount has them.

OPT-125m's shape, random weights, 101 and 401 tokens. Each setting is a process of its own, since the threads' way of
waiting is read once, when torch is imported; rounds alternate between the settings. `import headcount` chooses a short
spin where nothing is set and torch is not imported yet.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

BUSY = "while True: pass"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SETTINGS = {
    "a short spin": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "torch's own": {"KMP_BLOCKTIME": "200"},  # only says that something is set
}
WORK = """
import headcount  # before torch, which reads the waiting policy as it is imported
import json, torch
from common import published_shape, seconds
from headcount.induction import copying, prefix_matching
model = published_shape()
pick = torch.Generator().manual_seed(0)
distinct = torch.cat([torch.tensor([2]), torch.randperm(50000, generator=pick)[:100] + 5])[None]
repeats = torch.cat([torch.tensor([2]), (torch.randperm(50000, generator=pick)[:100] + 5).repeat(4)])[None]
works = {"copying": lambda: copying(model, distinct), "prefix matching": lambda: prefix_matching(model, repeats, 100)}
for work in works.values():
    work()
print(json.dumps({name: min(seconds(work) for _ in range(3)) for name, work in works.items()}))
"""


def timed(setting: dict[str, str], busy: int) -> dict[str, float]:
    """Return the seconds of each measurement, beside so many busy loops."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        environment = {name: value for name, value in os.environ.items() if name not in WAITING} | setting
        folder = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run(
            [sys.executable, "-c", WORK], env=environment, cwd=folder, capture_output=True, check=True
        )
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[tuple[str, int, str], list[float]] = {}
    for _ in range(rounds):
        for busy in (0, 2):
            for name, setting in SETTINGS.items():
                for work, seconds in timed(setting, busy).items():
                    times.setdefault((work, busy, name), []).append(seconds)
    for work in ("copying", "prefix matching"):
        alone = {name: statistics.median(times[work, 0, name]) for name in SETTINGS}
        beside = {name: statistics.median(times[work, 2, name]) for name in SETTINGS}
        for name in SETTINGS:
            ratio = beside[name] / alone[name]
            seconds = f"{beside[name]:.3f} s / {alone[name]:.3f} s"
            print(f"{work}, {name}: beside two busy loops / alone {ratio:.1f} ({seconds})")
        usual = alone["torch's own"]
        for name in list(SETTINGS)[:-1]:
            print(f"{work}: alone, {name} / torch's own {alone[name] / usual:.2f}")


if __name__ == "__main__":
    main()
