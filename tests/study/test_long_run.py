"""Open files and memory must not add up over studies: a process may measure many, or one for days."""

import resource
from itertools import islice

from support.looping import studies


def test_one_study_after_another_opens_no_more_files_and_takes_no_more_memory(tmp_path):
    usages, peaks = [], []
    for usage in islice(studies(tmp_path), 4):
        usages.append(usage)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert usages[1].files == usages[-1].files
    assert usages[-1].megabytes - usages[1].megabytes < 60  # MB; the first one imports, the second one warms up
    assert peaks[-1] - peaks[1] < 60
