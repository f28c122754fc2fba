"""Scoring of tasks, against lm-eval's own model (HFLM) on the same requests.

SmolLM2-135M-Instruct in float32. Both answer the same log-likelihood requests, in turn; on the first task HFLM's batch
size is chosen among several by what is fastest. Log-likelihoods must agree to 1e-4.
"""

import argparse
import contextlib
import io
import logging
import statistics
from pathlib import Path
from typing import Any

import torch
from common import seconds
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from headcount.importance.lm_eval_adapter import HarnessModel
from headcount.importance.rows.definitions import sixteen
from headcount.importance.tasks.loading import lm_eval_task
from headcount.tracing import load_model
from headcount.tracing.loading import default_model

BATCH_SIZES = (1, 2, 4, 8, 16)


def requests_of(name: str, data: Path | None, shots: int, limit: int) -> list[Any]:
    """lm-eval's own requests for the first documents."""
    task = lm_eval_task(name, data)
    task.set_config("num_fewshot", shots)
    with quiet():
        task.build_all_requests(limit=limit, rank=0, world_size=1)
    return task.instances


def answer(lm: Any, requests: list[Any]) -> list[tuple[float, bool]]:
    with quiet():
        return lm.loglikelihood(requests, disable_tqdm=True)


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def best_batch_size(theirs: HFLM, requests: list[Any]) -> int:
    """The batch size at which HFLM is fastest on these requests."""
    found = {}
    for size in BATCH_SIZES:
        theirs.batch_size_per_gpu = size
        found[size] = min(seconds(lambda: answer(theirs, requests)) for _ in range(2))
    print("HFLM by batch size:", ", ".join(f"{size}: {time:.1f} s" for size, time in found.items()), flush=True)
    return min(found, key=found.__getitem__)


def compare(ours: HarnessModel, theirs: HFLM, requests: list[Any], pairs: int) -> str:
    """Time of theirs over ours, pair by pair, and the largest difference of a log-likelihood."""
    mine, expected = answer(ours, requests), answer(theirs, requests)
    difference = max(abs(one[0] - other[0]) for one, other in zip(mine, expected, strict=True))
    assert difference < 1e-4, difference
    assert all(one[1] == other[1] for one, other in zip(mine, expected, strict=True))
    times = [(seconds(lambda: answer(ours, requests)), seconds(lambda: answer(theirs, requests))) for _ in range(pairs)]
    ratios = [their / our for our, their in times]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    our = statistics.median(our for our, _ in times)
    return f"{statistics.median(ratios):.2f} ({spread}; ours {our:.1f} s), largest difference {difference:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of task rows; without it, what the wheel has")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(sixteen()))
    asked = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    folder, _ = default_model.fetch()
    theirs = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
    ours = HarnessModel(load_model(dtype="float32"))
    first = requests_of(asked.tasks[0], asked.data, asked.shots, asked.limit)
    theirs.batch_size_per_gpu = best_batch_size(theirs, first)
    for name in asked.tasks:
        requests = requests_of(name, asked.data, asked.shots, asked.limit)
        print(f"{name}, {asked.shots} shots: HFLM / ours {compare(ours, theirs, requests, asked.pairs)}", flush=True)


if __name__ == "__main__":
    main()
