"""The plan of costs against measured runs: peak memory and time of each part, for models of published sizes.

Random weights. Each model is measured in a process of its own, so that peaks do not add up: the peak is that of the
resident set during a part, less what the process held before there was a model; on a GPU, of what its allocator gave.
Times are predicted for this machine as `--hardware this` measures it, just before the run. A part that would not fit,
by the plan, is not run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from common import published_shape

from headcount.planning.costs import Cost, costs
from headcount.planning.flops import Shape
from headcount.planning.hardware import measured
from headcount.results import Run, create_run
from headcount.study.config import Study, Tasks
from headcount.study.schedule import measure_units
from headcount.study.study import asked_settings, study_units
from headcount.study.units import Unit
from headcount.tracing import load_model
from headcount.tracing.loading import default_model

MODELS = ("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b")
PAGE = 4096


def study(documents: int, sequences: int) -> Study:
    """One task at 5 shots, every kind of pass once."""
    return Study(
        tasks=[Tasks(names=["country_capital"], shots=[5], limit=documents)],
        sequences=sequences,
        examples=documents,
        control=False,
        head_percents=[50],
        ffn_percents=[50],
        rankings=["own"],
    )


def held() -> int:
    """Bytes of memory that this process holds, on the GPU if it uses one."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Peak:
    """The most memory held while a block runs; on a CPU looked at every few milliseconds."""

    def __enter__(self) -> "Peak":
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.bytes, self._running = held(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self.bytes = max(self.bytes, held())

    def _watch(self) -> None:
        while self._running:
            self.bytes = max(self.bytes, held())
            time.sleep(0.005)


def one(name: str, asked: argparse.Namespace, folder: Path) -> None:
    """Measure every part of one model and print it as JSON, a line each."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.tokenizer or default_model.fetch()[0])
    load_model("tiny-opt", device_map=asked.device)("what is loaded once only")
    before = 0 if torch.cuda.is_initialized() else held()
    start = time.perf_counter()
    model = published_shape(name, asked.device, getattr(torch, asked.dtype), tokenizer)
    print(f"{name}: made and checked in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    config, shape = study(asked.documents, asked.sequences), Shape.of(model)
    on = measured(shape, model.dtype, asked.device)
    print(f"{name}: {on.flops:.3g} FLOP/s, {on.bandwidth:.3g} B/s, {on.memory:.3g} B", file=sys.stderr, flush=True)
    for number in range(asked.rounds):
        run = create_run(folder / str(number), model={"name": name})
        units = [unit for unit in study_units(model, run, config, asked_settings(config)) if unit.work()]
        found = list(measurements(name, units, costs(units, shape, on), run, before))
    for one in found:  # the last round's
        print(json.dumps(one), flush=True)


def measurements(
    name: str, units: list[Unit], foreseen: list[Cost], run: Run, before: int
) -> Iterator[dict[str, float | str]]:
    """What every unit that fits took, and what was foreseen."""
    for unit, cost in zip(units, foreseen, strict=True):
        if not cost.fits:
            print(f"{name}, {unit.title}: {cost.memory.total / 1e9:.1f} GB would not fit", file=sys.stderr, flush=True)
            continue
        start = time.perf_counter()
        with Peak() as peak:
            measure_units([unit], run)
        taken = time.perf_counter() - start
        predicted = {"predicted_seconds": cost.seconds, "predicted_bytes": cost.memory.total}
        yield {"unit": unit.title, "seconds": taken, "bytes": peak.bytes - before, "flops": cost.flops, **predicted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1, help="the last one counts: on a GPU the first one warms up")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokenizer", help="a folder; without it, the default model's")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            one(asked.one, asked, Path(folder))
        return
    for name in asked.models:
        command = [sys.executable, __file__, "--one", name, *sys.argv[1:]]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        show(name, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")])


def show(name: str, parts: list[dict[str, float]]) -> None:
    """Print predicted / measured of every part, and of the whole."""
    print(f"{name}: predicted / measured")
    for part in parts:
        seconds = f"time {part['predicted_seconds'] / part['seconds']:.2f} ({part['seconds']:.1f} s)"
        peak = f"memory {part['predicted_bytes'] / part['bytes']:.2f} ({part['bytes'] / 1e6:.0f} MB)"
        print(f"    {part['unit']}: {seconds}, {peak}, {part['flops'] / part['seconds']:.2g} FLOP/s", flush=True)
    taken, predicted = (sum(part[key] for part in parts) for key in ("seconds", "predicted_seconds"))
    held, foreseen = (max(part[key] for part in parts) for key in ("bytes", "predicted_bytes"))
    print(f"    in all: time {predicted / taken:.2f}, memory {foreseen / held:.2f}", flush=True)


if __name__ == "__main__":
    main()
