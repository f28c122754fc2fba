"""Planned costs compared with measured runs: peak memory and time of each part, for models of published sizes.

Random weights. Each model is measured in a process of its own, so that peaks do not add up. The peak is that of the
resident set during a part, minus the memory of the process before it had a model; on a GPU, that of the allocator.
Times are planned for this machine as `--hardware this` measures it, just before the run. A part that would not fit,
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

from headcount.planning import Cost, Shape, measure_this_machine, unit_costs
from headcount.results import Run, create_run
from headcount.study import StudyConfig, TaskGroup, Unit, load_tasks, measure_units, study_units
from headcount.tracing import load_model
from headcount.tracing.sources import default_model

MODELS = ("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b")
PAGE = 4096


def study(documents: int, sequences: int) -> StudyConfig:
    """Return a study of one task at 5 shots, with every kind of pass once."""
    return StudyConfig(
        tasks=[TaskGroup(names=["country_capital"], shots=[5], limit=documents)],
        sequences=sequences,
        examples=documents,
        control=False,
        head_percents=[50],
        ffn_percents=[50],
        rankings=["own"],
    )


def memory_in_use() -> int:
    """Return the bytes of memory that this process uses, on the GPU if it uses one."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Peak:
    """The peak of memory while a block runs; on a CPU sampled every few milliseconds."""

    def __enter__(self) -> "Peak":
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.bytes, self._running = memory_in_use(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self.bytes = max(self.bytes, memory_in_use())

    def _watch(self) -> None:
        while self._running:
            self.bytes = max(self.bytes, memory_in_use())
            time.sleep(0.005)


def measure_model(name: str, options: argparse.Namespace, folder: Path) -> None:
    """Measure every part of one model and print each as a line of JSON."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer or default_model.fetch()[0])
    load_model("tiny-opt", device_map=options.device)("loads what is loaded once only")
    before = 0 if torch.cuda.is_initialized() else memory_in_use()
    start = time.perf_counter()
    model = published_shape(name, options.device, getattr(torch, options.dtype), tokenizer)
    print(f"{name}: built and checked in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    config, shape = study(options.documents, options.sequences), Shape.of(model)
    machine = measure_this_machine(shape, model.dtype, options.device)
    rates = f"{machine.flops:.3g} FLOP/s, {machine.bandwidth:.3g} B/s, {machine.memory:.3g} B"
    print(f"{name}: {rates}", file=sys.stderr, flush=True)
    for number in range(options.rounds):
        run = create_run(folder / str(number), model={"name": name})
        units = [unit for unit in study_units(model, run, config, load_tasks(config)) if unit.work()]
        parts = list(measurements(name, units, unit_costs(units, shape, machine), run, before))
    for part in parts:  # of the last round
        print(json.dumps(part), flush=True)


def measurements(
    name: str, units: list[Unit], planned: list[Cost], run: Run, before: int
) -> Iterator[dict[str, float | str]]:
    """Yield the measured and the planned cost of every unit that fits."""
    for unit, cost in zip(units, planned, strict=True):
        if not cost.fits:
            print(f"{name}, {unit.title}: {cost.memory.total / 1e9:.1f} GB would not fit", file=sys.stderr, flush=True)
            continue
        start = time.perf_counter()
        with Peak() as peak:
            measure_units([unit], run)
        taken = time.perf_counter() - start
        plan = {"planned_seconds": cost.seconds, "planned_bytes": cost.memory.total}
        yield {"unit": unit.title, "seconds": taken, "bytes": peak.bytes - before, "flops": cost.flops, **plan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument(
        "--rounds", type=int, default=1, help="the last one counts: on a GPU the first one is a warm-up"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokenizer", help="a folder; by default the tokenizer of the default model")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            measure_model(options.only, options, Path(folder))
        return
    for name in options.models:
        command = [sys.executable, __file__, "--only", name, *sys.argv[1:]]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        show(name, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")])


def show(name: str, parts: list[dict[str, float]]) -> None:
    """Print planned / measured of every part, and of the whole."""
    print(f"{name}: planned / measured")
    for part in parts:
        time_ratio = f"time {part['planned_seconds'] / part['seconds']:.2f} ({part['seconds']:.1f} s)"
        memory_ratio = f"memory {part['planned_bytes'] / part['bytes']:.2f} ({part['bytes'] / 1e6:.0f} MB)"
        print(
            f"    {part['unit']}: {time_ratio}, {memory_ratio}, {part['flops'] / part['seconds']:.2g} FLOP/s",
            flush=True,
        )
    seconds, planned_seconds = (sum(part[key] for part in parts) for key in ("seconds", "planned_seconds"))
    peak, planned_peak = (max(part[key] for part in parts) for key in ("bytes", "planned_bytes"))
    print(f"    in all: time {planned_seconds / seconds:.2f}, memory {planned_peak / peak:.2f}", flush=True)


if __name__ == "__main__":
    main()
