"""What one study leaves open or in memory must not add up: a process may measure many, or one for days."""

import os
import resource

from headcount_runs import SMALL_STUDY, run


def test_one_study_after_another_opens_no_more_files_and_keeps_no_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(SMALL_STUDY)
    files, peaks = [], []
    for number in range(4):
        status, _, err = run(capsys, "study", "study.toml", "--out", f"run{number}")
        assert status == 0, err
        files.append(len(os.listdir("/proc/self/fd")))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert files[1] == files[-1]
    assert peaks[-1] - peaks[1] < 60  # MB; the first one imports, the second one warms up
