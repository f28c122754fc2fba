"""What one study leaves open or in memory must not add up: a process may measure many, or one for days."""

import resource
from itertools import islice

from support.looping import studies


def test_one_study_after_another_opens_no_more_files_and_keeps_no_memory(tmp_path):
    left, peaks = [], []
    for one in islice(studies(tmp_path), 4):
        left.append(one)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert left[1].files == left[-1].files
    assert left[-1].megabytes - left[1].megabytes < 60  # MB; the first one imports, the second one warms up
    assert peaks[-1] - peaks[1] < 60
