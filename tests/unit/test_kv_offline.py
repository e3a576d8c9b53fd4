"""The formulas of 2023, their files, and what neither accepts.

The real tool's bits are compared in tests/contract/test_kv_qparams.py.
"""

import numpy as np
import pytest
import torch

from labutils import kv_offline
from labutils.errors import LabError
from labutils.kv_offline import QParams


def test_levels_round_half_to_even_and_saturate():
    """cvt.rni.sat.u8 of (x - zero point) / scale + 128."""
    x = torch.tensor([0.0, 0.25, 0.75, -0.25, 1e6, -1e6])
    levels = kv_offline.quantize(x, QParams(0.5, 0.0))
    assert levels.tolist() == [128, 128, 130, 128, 255, 0]
    back = kv_offline.dequantize(levels[:3], QParams(0.5, 10.0))
    assert back.tolist() == [10.0, 10.0, 11.0]


def statistics(low: float, high: float, heads: int = 2) -> dict:
    full = {"min": low, "max": high, "absmax": max(abs(low), abs(high))}
    return {n: {"layer": torch.full((heads, 4), x).half()} for n, x in full.items()}


def test_the_arithmetic_is_float16():
    """In float32 the scale would be 0.01569; 0.2.4 computes in float16 and gets its neighbour."""
    found = kv_offline.kv_qparams(statistics(-1.5, 2.5), statistics(-1, 1))[0, 0]
    assert found[0] == QParams(float(np.float16(4) / np.float16(255)), 0.5)
    assert found[0].scale != pytest.approx(4 / 255, abs=1e-7)


@pytest.mark.parametrize(
    ("key", "options", "sentence"),
    [
        (statistics(0, 0), {}, "of no use: calibrate again"),
        (statistics(0, 0), {"sym": True}, "of no use: calibrate again"),
        (statistics(float("nan"), 1), {}, "of no use: calibrate again"),
        (statistics(-6e4, 6e4), {}, "of no use: calibrate again"),
        (statistics(-1, 1), {"num_tp": 3}, "3 ranks cannot share 2 K/V heads"),
        (statistics(-1, 1), {"num_tp": 0}, "0 ranks cannot share 2 K/V heads"),
    ],
)
def test_unusable_statistics_are_refused(key, options, sentence):
    with pytest.raises(LabError, match=sentence):
        kv_offline.kv_qparams(key, statistics(-1, 1), **options)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1.0, 0.0, 1.0], "holds no 2 or 4 float32 numbers"),
        ([], "holds no 2 or 4 float32 numbers"),
        ([0.0, 1.0, 1.0, 1.0], "of no use"),
        ([1.0, 1.0, float("nan"), 1.0], "of no use"),
        ([1.0, float("inf"), 1.0, 1.0], "of no use"),
        ([1.0, -1.0], "of no use"),
    ],
)
def test_corrupt_scales_are_refused(tmp_path, content, sentence):
    np.array(content, dtype=np.float32).tofile(tmp_path / kv_offline.FILE.format(0, 0))
    with pytest.raises(LabError, match=sentence):
        kv_offline.read_qparams(tmp_path)


def test_an_odd_length_is_refused(tmp_path):
    (tmp_path / kv_offline.FILE.format(0, 0)).write_bytes(bytes(17))
    with pytest.raises(LabError, match="holds no 2 or 4 float32 numbers"):
        kv_offline.read_qparams(tmp_path)


def test_no_scales_are_refused(tmp_path):
    with pytest.raises(LabError, match="run kv_qparams first"):
        kv_offline.read_qparams(tmp_path)
