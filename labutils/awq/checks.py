"""What `lmdeploy lite auto_awq` needs, looked at before it starts.

It calibrates for minutes and only then stops, at a bare assertion: for a group size that does not
divide a layer, for instance. Left out: the calibration text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labutils.awq.folder import predicted_sizes, read_tensors
from labutils.errors import LabError
from labutils.folders import check_room, checked_config, linear_layers

GROUP_SIZES = (128, 64, 32)
"""What LMDeploy's engines take: TurboMind 128 only, the PyTorch engine (on a CPU) all three."""


def check(model: str | Path, group_size: int, folder: str | Path | None = None) -> None:
    """Refuse to quantize what cannot be.

    Args:
        model: folder of the model to quantize.
        group_size: --w-group-size.
        folder: --work-dir, if it is to be a new one.

    Raises:
        LabError: an incomplete or quantized model, a group size that does not divide all of its
            linear layers, a folder that exists, or a full disk.
    """
    model = Path(model)
    config = checked_config(model)
    quantization = config.get("quantization_config")
    if quantization or any(name.endswith(".qweight") for name in read_tensors(model)):
        method = (quantization or {}).get("quant_method", "awq")  # 0.2.4 leaves no word about it
        raise LabError(f"{model} is quantized already ({method}): start from the original model.")
    _check_group_size(config, group_size)
    if folder is not None:
        _check_target(Path(folder), sum(predicted_sizes(config, group_size).values()))


def largest_group_size(model: str | Path) -> int:
    """The largest group size that divides all linear layers of a model: the fewest scales.

    Raises:
        LabError: an incomplete model, or none does.
    """
    lengths = _lengths(checked_config(Path(model)))
    fitting = _fitting(lengths)
    if not fitting:
        raise LabError(f"No group size ({', '.join(map(str, GROUP_SIZES))}) divides {lengths}.")
    return fitting[0]


def _lengths(config: Mapping[str, Any]) -> list[int]:
    """Inputs share scales; outputs count, too: the PyTorch engine splits them by group size."""
    return sorted({length for shape in linear_layers(config).values() for length in shape})


def _fitting(lengths: list[int]) -> list[int]:
    return [size for size in GROUP_SIZES if not any(length % size for length in lengths)]


def _check_group_size(config: Mapping[str, Any], group_size: int) -> None:
    lengths = _lengths(config)
    fitting = [str(size) for size in _fitting(lengths)]
    if str(group_size) not in fitting:
        advice = f"choose {' or '.join(fitting)}" if fitting else "this model has no group size"
        raise LabError(
            f"Group size {group_size} does not suit layers of "
            f"{', '.join(map(str, lengths))} inputs and outputs: {advice}."
        )


def _check_target(folder: Path, needed: int) -> None:
    if folder.exists():
        raise LabError(f"{folder} exists already: name a new folder, or delete this one.")
    # The weights, and some statistics.
    check_room(folder, 1.1 * needed, "The quantized model", "name a folder on another disk")
