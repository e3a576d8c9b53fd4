"""The measured limits are rates that this machine's own arithmetic cannot contradict."""

import pytest
import torch

from labutils import limits
from labutils.errors import LabError


def test_a_limit_is_a_median_between_its_extremes():
    for limit in (limits.copy_bandwidth("cpu"), limits.matrix_rate("cpu", torch.float32)):
        assert 0 < limit.slowest <= limit.rate <= limit.fastest


def test_more_work_in_the_same_operation_is_no_other_rate(monkeypatch):
    """A rate is amount / time: half the bytes must not halve the bandwidth."""
    whole = limits.copy_bandwidth("cpu")
    monkeypatch.setitem(limits.COPIED_BYTES, "cpu", limits.COPIED_BYTES["cpu"] // 2)
    assert limits.copy_bandwidth("cpu").fastest > whole.slowest / 2


def test_too_little_memory_is_one_sentence(monkeypatch):
    monkeypatch.setitem(limits.COPIED_BYTES, "cpu", 2**60)
    with pytest.raises(LabError, match="needs .* GiB of free memory on cpu: close"):
        limits.copy_bandwidth("cpu")
