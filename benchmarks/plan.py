"""The plan of costs against measured runs: peak memory and time of each part, for models of three published sizes.

Random weights in float32. Each model is measured in a process of its own, so that peaks do not add up: the peak is that
of the resident set during a part, less what the process held before there was a model. Times are predicted for this
machine as `--hardware this` measures it, just before the run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
import transformers

from headcount.config import Study, Tasks
from headcount.costs import costs
from headcount.flops import Shape
from headcount.hardware import measured
from headcount.schedule import measure_units
from headcount.study import asked_settings, study_units
from results import create_run
from tracing import default_model, load_model
from tracing.configurations import published_configuration

MODELS = ("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b")
PAGE = 4096


def study(documents: int) -> Study:
    """One task at 5 shots, every kind of pass once."""
    return Study(
        tasks=[Tasks(names=["country_capital"], shots=[5], limit=documents)],
        sequences=10,
        examples=documents,
        control=False,
        head_percents=[50],
        ffn_percents=[50],
        rankings=["own"],
    )


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Peak:
    """The largest resident set while a block runs, looked at every few milliseconds."""

    def __enter__(self) -> "Peak":
        self.bytes, self._running = resident(), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()

    def _watch(self) -> None:
        while self._running:
            self.bytes = max(self.bytes, resident())
            time.sleep(0.005)


def one(name: str, documents: int, folder: Path) -> None:
    """Measure every part of one model and print it as JSON, a line each."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(default_model.fetch()[0])
    load_model("tiny-opt")("what is loaded once only")
    before = resident()
    torch.manual_seed(0)
    config = published_configuration(name)
    hf = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).requires_grad_(False)
    model = load_model(hf, tokenizer=tokenizer)
    run = create_run(folder / name.replace("/", "-"), model={"name": name})
    asked = study(documents)
    units = [unit for unit in study_units(model, run, asked, asked_settings(asked)) if unit.work()]
    shape = Shape.of(model)
    on = measured(shape, model.dtype)
    for unit, cost in zip(units, costs(units, shape, on), strict=True):
        start = time.perf_counter()
        with Peak() as peak:
            measure_units([unit], run)
        taken = time.perf_counter() - start
        predicted = {"predicted_seconds": cost.seconds, "predicted_bytes": cost.memory.total}
        found = {"unit": unit.title, "seconds": taken, "bytes": peak.bytes - before, **predicted}
        print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            one(asked.one, asked.documents, Path(folder))
        return
    for name in asked.models:
        command = [sys.executable, __file__, "--one", name, "--documents", str(asked.documents)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        show(name, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")])


def show(name: str, parts: list[dict[str, float]]) -> None:
    """Print predicted / measured of every part, and of the whole."""
    print(f"{name}: predicted / measured")
    for part in parts:
        seconds = f"time {part['predicted_seconds'] / part['seconds']:.2f} ({part['seconds']:.1f} s)"
        peak = f"memory {part['predicted_bytes'] / part['bytes']:.2f} ({part['bytes'] / 1e6:.0f} MB)"
        print(f"    {part['unit']}: {seconds}, {peak}", flush=True)
    taken, predicted = (sum(part[key] for part in parts) for key in ("seconds", "predicted_seconds"))
    held, foreseen = (max(part[key] for part in parts) for key in ("bytes", "predicted_bytes"))
    print(f"    in all: time {predicted / taken:.2f}, memory {foreseen / held:.2f}", flush=True)


if __name__ == "__main__":
    main()
