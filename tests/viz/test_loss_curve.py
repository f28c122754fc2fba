"""The loss curve's data."""

import pytest

from headcount import viz
from headcount.results import InputError, RepeatLoss


def test_one_point_a_repeat_with_its_standard_error() -> None:
    trace = viz.loss_by_repeat(RepeatLoss([9, 1], [4, 1], 4, -8, 0.1)).data[0]
    assert list(trace.x) == [1, 2]
    assert list(trace.y) == [9, 1]
    assert list(trace.error_y.array) == [1, 0.5]
    assert trace.error_y.visible


def test_no_bars_where_the_error_is_unknown() -> None:
    figure = viz.loss_by_repeat(RepeatLoss([9, 1], None, 1, -8, float("nan")), theme="dark")
    assert not figure.data[0].error_y.visible
    assert figure.layout.template.layout.paper_bgcolor == "#14171b"
    with pytest.raises(InputError, match="theme: expected one of light, dark"):
        viz.loss_by_repeat(RepeatLoss([9], None, 1, 0, 0), theme="")
