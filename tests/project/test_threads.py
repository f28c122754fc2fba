"""The number of threads on cores that other work shares."""

import os
import sys

import pytest
import torch

from headcount import threads
from headcount.induction import prefix_matching, repeated_tokens
from headcount.threads import CpuTimes, cpu_times, fair_threads
from headcount.tracing import load_model

START = CpuTimes(wall=100.0, busy=1000.0, this_process=7.0)


def after(wall, other_work, this_process):
    return CpuTimes(START.wall + wall, START.busy + other_work + this_process, START.this_process + this_process)


@pytest.mark.parametrize(
    ("cores", "other_cores", "expected"),
    [(2, 0.0, 2), (2, 0.4, 2), (2, 1.0, 1), (2, 1.33, 1), (4, 1.0, 3), (16, 1.0, 15), (16, 15.0, 8), (1, 1.0, 1)],
)
def test_threads_are_the_cores_that_a_fair_scheduler_gives(cores, other_cores, expected):
    assert fair_threads(cores, START, after(5.0, 5.0 * other_cores, 4.0)) == expected


def test_less_than_a_second_says_nothing():
    assert fair_threads(2, START, after(0.9, 1.8, 0.0)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count the time of the cores in this way")
def test_time_of_the_cores_includes_this_process():
    before = cpu_times()
    sum(range(20_000_000))
    now = cpu_times()
    assert now.this_process - before.this_process > 0.1
    assert now.busy - before.busy >= now.this_process - before.this_process - 0.1


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count the time of the cores in this way")
@pytest.mark.parametrize(("setting", "number"), [(None, 1), ("2", 2)])
def test_a_model_opened_beside_other_work_computes_with_fewer_threads(monkeypatch, two_threads, setting, number):
    now = cpu_times()
    work = 1000.0 * os.cpu_count()
    monkeypatch.setattr(threads, "_AT_IMPORT", CpuTimes(now.wall - 10, now.busy - work, now.this_process))
    monkeypatch.delenv("OMP_NUM_THREADS")
    if setting is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    model = load_model("tiny-opt")
    assert torch.get_num_threads() == number
    assert prefix_matching(model, repeated_tokens(model, period=5), period=5).provenance["threads"] == number
