"""What `lmdeploy lite calibrate` leaves behind, read and checked.

    found = calibration.read("stats", model)
    found.keys.absmax                      # float16 [layers, kv_heads, head_dim]
    found.inputs["mlp.down_proj"]["absmean"]                      # [layers, channels]
    calibration.outliers(found.keys.absmax, k=6)

LMDeploy runs the model over the calibration text and keeps, for each channel, extremes and means
over all tokens: of what goes into and comes out of every linear layer (today's and 0.2.4), and of
K, after the rotary embedding, and V (0.2.4 only: today's KV-cache quantization needs none).

Pictures are in `labutils.calibration_plots`. Left out: modules outside the layers, such as the
last norm, and those that only some layers have.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from labutils.errors import LabError
from labutils.folders import heads, read_config

Statistics = Mapping[str, torch.Tensor]
"""By name: min, max, absmax, mean, absmean, each [layers, channels]."""
EXTREMES = ("min", "max", "absmax")
_DAMAGE = (OSError, RuntimeError, EOFError, LookupError, ValueError, AttributeError)
_DAMAGE += (pickle.UnpicklingError,)
"""What reading a damaged or foreign file raises."""


@dataclass(frozen=True)
class Extremes:
    """Of K or V over all tokens: [layers, kv_heads, head_dim] each, in the dtype of the file."""

    min: torch.Tensor
    max: torch.Tensor
    absmax: torch.Tensor


@dataclass(frozen=True)
class Calibration:
    """The statistics of one run of `lmdeploy lite calibrate`."""

    inputs: Mapping[str, Statistics]
    """Of what goes into a layer's linear layers, by module name ('mlp.down_proj')."""
    outputs: Mapping[str, Statistics]
    """Of what comes out of its linear layers and norms."""
    keys: Extremes | None
    """Of K after the rotary embedding; None from today's LMDeploy."""
    values: Extremes | None

    @property
    def layers(self) -> int:
        """The number of the model's layers."""
        return len(next(iter(self.inputs.values()))["absmax"])


def read(folder: str | Path, model: str | Path | None = None) -> Calibration:
    """Read what `lmdeploy lite calibrate … --work-dir FOLDER` wrote.

    Args:
        folder: that folder.
        model: a model folder that the statistics must fit; None skips the comparison.

    Raises:
        LabError: no such statistics, a damaged file, numbers that are none, or another model.
    """
    folder = Path(folder)
    inputs, outputs, keys, values = (
        _read(folder, k) for k in ("inputs", "outputs", "key", "value")
    )
    found = Calibration(inputs, outputs or {}, _extremes(keys), _extremes(values))
    if model is not None:
        _check_model(found, folder, Path(model))
    return found


def _read(folder: Path, kind: str) -> dict[str, Statistics] | None:
    """One file's statistics by module; None if LMDeploy had no reason to write the file."""
    file = folder / f"{kind}_stats.pth"
    if not file.is_file() and kind != "inputs":
        return None
    if not file.is_file():
        raise LabError(
            f"{folder} holds no statistics ({file.name} is missing): run lmdeploy lite calibrate "
            f"with --work-dir {folder} first."
        )
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        wrong = _not_finite(stored)
        modules = _by_module(stored)
    except _DAMAGE as error:
        raise LabError(f"{file} is damaged: run lmdeploy lite calibrate again.") from error
    if wrong:
        raise LabError(
            f"{file}: {wrong} holds NaN or infinity, so the model overflowed, or this part of it "
            "saw no token: calibrate again, with another dtype or more text."
        )
    return modules


def _not_finite(stored: Mapping[str, Mapping[str, torch.Tensor]]) -> str:
    """The first tensor with a number that is none; '' without."""
    for statistic, tensors in stored.items():
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor) and not tensor.isfinite().all():
                return f"{statistic} of {name}"
    return ""


def _by_module(stored: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, Statistics]:
    """{statistic: {'model.layers.0.mlp.up_proj': [c]}} as {'mlp.up_proj': {statistic: [l, c]}}."""
    modules: dict[str, dict[str, dict[int, torch.Tensor]]] = {}
    for statistic, tensors in stored.items():
        for name, tensor in tensors.items():
            layer, module = _split(name)
            if layer is not None and isinstance(tensor, torch.Tensor):
                modules.setdefault(module, {}).setdefault(statistic, {})[layer] = tensor
    layers = 1 + max(max(of["absmax"]) for of in modules.values())
    found = {
        module: {key: torch.stack([at[n] for n in range(layers)]) for key, at in of.items()}
        for module, of in modules.items()
        if len(of["absmax"]) == layers
    }
    if not found:
        raise ValueError("no module has statistics of every layer")
    return found


def _split(name: str) -> tuple[int | None, str]:
    """'model.layers.7.mlp.up_proj' → (7, 'mlp.up_proj'); (None, name) outside the layers."""
    found = re.match(r"\D*\.(\d+)(?:\.(.+))?$", name)
    return (int(found[1]), found[2] or "") if found else (None, name)


def _extremes(modules: dict[str, Statistics] | None) -> Extremes | None:
    """K's or V's, which LMDeploy keeps under the name of the layer itself."""
    return Extremes(**{key: modules[""][key] for key in EXTREMES}) if modules else None


def _check_model(found: Calibration, folder: Path, model: Path) -> None:
    """Compare the statistics' shapes with a model's config.json."""
    config = read_config(model)
    if (layers := config.get("num_hidden_layers", found.layers)) != found.layers:
        raise LabError(
            f"{folder} is of a model with {found.layers} layers, and {model.name} has {layers}: "
            "calibrate this model."
        )
    if found.keys is None:
        return
    shape = (layers, *heads(config)[1:])
    if found.keys.absmax.shape != shape:
        has = " × ".join(map(str, found.keys.absmax.shape))
        raise LabError(
            f"{folder} has K of {has} layers, heads and dimensions, and {model.name} calls for "
            f"{' × '.join(map(str, shape))}: calibrate this model."
        )


# --- outlier channels ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlier:
    """A channel far larger than most of its layer."""

    layer: int
    head: int
    """0 where channels are not divided into heads."""
    channel: int
    absmax: float
    times: float
    """absmax / median of the layer's channels."""


def outliers(absmax: torch.Tensor, k: float = 6.0) -> list[Outlier]:
    """Channels whose absmax exceeds k times their layer's median, the farthest first.

    Args:
        absmax: [layers, kv_heads, head_dim] or [layers, channels]. Channels that are always zero,
            as in a widened model, count neither as channels nor for the median.
        k: how many medians make an outlier.
    """
    sizes = absmax.float() if absmax.dim() == 3 else absmax.float().unsqueeze(1)
    found = []
    for layer, size in enumerate(sizes):
        median = size[size > 0].median()
        for head, channel in (size > k * median).nonzero().tolist():
            value = size[head, channel]
            found.append(Outlier(layer, head, channel, value.item(), (value / median).item()))
    return sorted(found, key=lambda o: -o.times)
