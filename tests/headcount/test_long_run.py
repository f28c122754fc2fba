"""What one study leaves open or in memory must not add up: a process may measure many, or one for days."""

from itertools import islice

from looping import studies


def test_one_study_after_another_opens_no_more_files_and_keeps_no_memory(tmp_path):
    left = list(islice(studies(tmp_path), 4))
    assert left[1].files == left[-1].files
    assert left[-1].megabytes - left[1].megabytes < 60  # the first one imports, the second one warms up
