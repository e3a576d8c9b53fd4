"""KV-cache quantization as LMDeploy did it up to 0.3: calibrated, one range for a whole layer.

A calibration run notes how large K and V become; from that, `lite kv_qparams` computes one scale
and one zero point for all of a layer's K and one for all of its V (per tensor-parallel rank: a GPU
knows its own heads only). The engine reads them from files beside the weights.

Here are the formulas, independent of the tool to check it bit for bit, and the files. Left out:
the calibration itself; fewer than 8 bits, which that engine did not have.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from labutils.errors import LabError

Statistics = Mapping[str, Mapping[object, torch.Tensor]]
"""key_stats.pth or value_stats.pth of 0.2.4: under 'min', 'max' and 'absmax', per layer in order,
the extremes of every dimension, float16 [kv_heads, head_dim]; of K after rotary embedding."""
Pairs = dict[tuple[int, int], tuple["QParams", "QParams"]]
"""{(layer, rank): (K's, V's)}."""


@dataclass(frozen=True)
class QParams:
    """How one layer's K, or V, maps to 8 bits: x ≈ scale · (level - 128) + zero_point."""

    scale: float
    zero_point: float = 0.0
    """The middle of the range; 0 in symmetric quantization."""


def asymmetric(low: torch.Tensor, high: torch.Tensor) -> QParams:
    """255 steps from the smallest to the largest value; source: `kv_qparams` of LMDeploy 0.2.4.

    Args:
        low, high: float16 minima and maxima of any shape. The arithmetic stays in float16; the
            engine gets the results as float32.
    """
    low, high = low.min(), high.max()
    return QParams(((high - low) / 255).item(), ((high + low) / 2).item())


def symmetric(absmax: torch.Tensor) -> QParams:
    """127 steps from 0 to the largest magnitude, as many below; source: `kv_qparams --kv-sym`.

    Args:
        absmax: float16 largest magnitudes of any shape.
    """
    return QParams((absmax.max() / 127).item())


def kv_qparams(key: Statistics, value: Statistics, num_tp: int = 1, sym: bool = False) -> Pairs:
    """What `lmdeploy lite kv_qparams` of 0.2.4 computes from a calibration's statistics.

    Args:
        key, value: what its `lite calibrate` saved.
        num_tp: tensor-parallel ranks; each gets its share of the heads.
        sym: symmetric, as with --kv-sym.

    Raises:
        LabError: the ranks do not share the heads evenly, or a statistic is unusable.
    """
    found: Pairs = {}
    for layer, name in enumerate(key["max"]):
        heads = len(key["max"][name])
        if num_tp < 1 or heads % num_tp:
            raise LabError(f"{num_tp} ranks cannot share {heads} K/V heads: choose a divisor.")
        for rank in range(num_tp):
            k, v = (_of_rank(stats, name, rank, num_tp, sym) for stats in (key, value))
            check(k, f"layer {layer}'s K")
            check(v, f"layer {layer}'s V")
            found[layer, rank] = k, v
    return found


def _of_rank(stats: Statistics, name: object, rank: int, num_tp: int, sym: bool) -> QParams:
    """K's or V's of one layer, from the heads of one rank."""

    def mine(which: str) -> torch.Tensor:
        return stats[which][name].chunk(num_tp)[rank]

    return symmetric(mine("absmax")) if sym else asymmetric(mine("min"), mine("max"))


def check(qparams: QParams, whose: str) -> None:
    """Refuse a scale that nothing can be divided by.

    Raises:
        LabError: NaN, infinite, zero or negative.
    """
    if not (0 < qparams.scale < math.inf and math.isfinite(qparams.zero_point)):
        raise LabError(
            f"The scale {qparams.scale} and zero point {qparams.zero_point} of {whose} are of no "
            "use: calibrate again, with text that the model can read."
        )


def quantize(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """uint8 levels of x's shape: round to nearest, ties to even, saturate (TurboMind 0.2.4)."""
    levels = (x.float() - qparams.zero_point) / qparams.scale + 128
    return levels.round().clamp(0, 255).to(torch.uint8)


def dequantize(levels: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """float32 values of levels' shape."""
    return (levels.float() - 128) * qparams.scale + qparams.zero_point


FILE = "layers.{}.past_kv_scale.{}.weight"
"""Beside the weights in a workspace, by layer and rank; float32 without a header: K's scale, K's
zero point, V's scale, V's zero point. Symmetric: the two scales, which 0.2.4's engine, expecting
16 bytes, then refuses."""


def read_qparams(folder: Path) -> Pairs:
    """The scales and zero points in a workspace's folder of weights.

    Raises:
        LabError: there are none, or a file's length or content is wrong.
    """
    found: Pairs = {}
    for file in folder.glob(FILE.format("*", "*")):
        layer, rank = map(int, re.findall(r"\d+", file.name))
        numbers = np.fromfile(file, dtype=np.float32).tolist()
        if file.stat().st_size not in (8, 16):
            raise LabError(f"{file} holds no 2 or 4 float32 numbers: run kv_qparams again.")
        half = len(numbers) // 2
        pair = QParams(*numbers[:half]), QParams(*numbers[half:])
        for each in pair:
            check(each, str(file))
        found[layer, rank] = pair
    if not found:
        raise LabError(f"{folder} has no {FILE.format('*', '*')}: run kv_qparams first.")
    return dict(sorted(found.items()))
