"""The order of units, and their division among processes."""

from dataclasses import replace

import pytest
from support.headcount_runs import run

from headcount.cluster import Share, divide_units
from headcount.results import HeadScores, create_run
from headcount.study import Schedule, Unit, measure_units
from headcount.tracing.internal import Item, Items, Kind, ModelPass

MODEL = {"name": "tiny", "revision": None, "fingerprint": "abc"}


def unit(name, needs=(), group="", partial=False, model=True):
    work = {"work": lambda: (ModelPass(Kind.FORWARD, Items((Item(1),))),)} if model else {}
    scores = HeadScores([[1.0]], provenance={})
    return Unit(name, (name,), {}, int(model), lambda progress: (scores,), needs, partial=partial, group=group, **work)


@pytest.fixture
def folder(tmp_path):
    return create_run(tmp_path / "run", model=MODEL)


STUDY = (
    unit("heads/a", group="a"),
    unit("heads/b", group="b"),
    unit("mean", ("heads/a", "heads/b"), model=False),
    unit("order", ("heads/a", "heads/b"), model=False),
    unit("curve/a", ("heads/a",), "a"),
    unit("curve/b", ("mean",), "b"),
    unit("claims", ("curve/a", "curve/b", "mean"), partial=True, model=False),
)


def taken(schedule, worker=None):
    found = schedule.take(worker)
    return found and found.title


def test_one_process_gets_the_units_in_their_order(folder):
    assert measure_units(STUDY, folder) == [one.title for one in STUDY]
    assert measure_units(STUDY, folder) == []


def test_several_get_what_is_ready_and_keep_to_their_groups(folder):
    schedule = Schedule(STUDY, folder)
    assert [taken(schedule, 1), taken(schedule, 2), taken(schedule, 1)] == ["heads/a", "heads/b", None]
    schedule.settle(STUDY[0])
    assert taken(schedule, 2) == "curve/a"  # of another worker's group, but there is nothing else for it
    schedule.settle(STUDY[4])
    schedule.settle(STUDY[1])
    assert [taken(schedule, 1), taken(schedule, 1), taken(schedule, 2)] == ["mean", "order", None]
    schedule.settle(STUDY[2])
    assert taken(schedule, 1) == "curve/b"
    schedule.settle(STUDY[3])
    assert taken(schedule, 2) is None  # the claims wait for the curve
    schedule.settle(STUDY[5])
    assert taken(schedule, 2) == "claims"
    assert not schedule.over
    schedule.settle(STUDY[6])
    assert schedule.over


def test_a_group_stays_with_its_worker_while_there_is_other_work(folder):
    schedule = Schedule([unit("1", group="a"), unit("2", group="a"), unit("3", group="b")], folder)
    assert [taken(schedule, worker) for worker in (1, 2, 1)] == ["1", "3", "2"]


def test_what_a_lost_worker_was_at_comes_next(folder):
    schedule = Schedule(STUDY, folder)
    lost = schedule.take(1)
    schedule.put_back(lost)
    assert taken(schedule, 2) == "heads/a"


def test_a_damaged_result_that_another_process_sets_aside_first_counts_as_missing(folder, monkeypatch):
    path = folder.save("heads/a", HeadScores([[1.0]], provenance={}))
    path.write_bytes(b"no")

    def gone(name):
        path.unlink()
        raise KeyError(name)

    monkeypatch.setattr(type(folder), "set_aside", lambda run, name: gone(name))
    assert not STUDY[0].done(folder, {})


def test_a_unit_waits_for_what_another_process_measures_now(folder, capsys):
    (heads, other), curve = STUDY[:2], replace(STUDY[5], needs=("heads/a", "heads/b"))
    assert measure_units([heads, curve], folder, [other]) == ["heads/a"]
    assert "1 units wait for results that other shares have yet to measure, first: curve/b" in capsys.readouterr().err
    folder.save("heads/b", HeadScores([[1.0]], provenance={}))
    assert measure_units([heads, curve], folder, [replace(other, settings={"seed": 1})]) == []  # not yet measured anew
    assert measure_units([heads, curve], folder, [other]) == ["curve/b"]


def test_every_unit_has_one_share_and_groups_stay_whole():
    units = [unit(f"{kind}/{task}", group=str(task)) for kind in ("heads", "curve") for task in range(9)]
    weights = [1.0 + number % 9 for number in range(18)]
    shares = [divide_units(units, weights, Share(number, 4)) for number in range(1, 5)]
    assert sorted(one.title for share in shares for one in share.here) == sorted(one.title for one in units)
    groups = [{one.group for one in share.here} for share in shares]
    assert all(a.isdisjoint(b) for number, a in enumerate(groups) for b in groups[:number])
    loads = [sum(weights[units.index(one)] for one in share.here) for share in shares]
    assert max(loads) - min(loads) <= 4
    for share in shares:
        assert {one.title for one in (*share.here, *share.elsewhere)} == {one.title for one in units}


def test_what_runs_no_model_is_measured_by_whoever_can_and_late_if_nothing_waits_for_it():
    shares = [divide_units(STUDY, [1.0] * 7, Share(number, 2)) for number in (1, 2)]
    assert [one.title for one in shares[0].here] == ["heads/a", "curve/a", "mean", "order", "claims"]
    assert [one.title for one in shares[1].here] == ["heads/b", "mean", "curve/b", "order", "claims"]


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b"])
def test_a_share_that_is_none(share, tmp_path, capsys):
    status, _, err = run(capsys, "study", "--preset", "quick", f"--shard={share}", "--out", tmp_path / "run")
    assert (status, err.count("\n")) == (2, 1)
    assert "--shard must be like 3/16" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ray", "local", "--shard", "1/2"), "exclude each other"),
        (("--ray", "local", "--remote", "ndif"), "leave --remote out"),
        (("--ray", "local", "--dry-run"), "measures nothing"),
        (("--gpus-per-model", 1), "expected --ray with them"),
        (("--ray", "local", "--gpus-per-model", 1.5), "must be a whole number, or a part of one GPU, not 1.5"),
        (("--ray", "local", "--cpus-per-model", 0), "--cpus-per-model must be 1 or more"),
        (("--ray", "local", "--device", "cuda"), "device cuda needs GPUs"),
        (("--ray", "127.0.0.1:9"), "no Ray cluster at 127.0.0.1:9 ("),
        (("--ray", "nowhere"), "it names no port"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options, message, tmp_path, capsys):
    (tmp_path / "study.toml").write_text("model = 'tiny-opt'\n[[tasks]]\nnames = ['plural']\n")
    status, out, err = run(capsys, "study", tmp_path / "study.toml", "--out", tmp_path / "run", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "run").exists()
