"""Which engine this machine gets, and why, as one value.

The lessons' code cells are the same everywhere because they ask `engine_config()` for the engine:
TurboMind where there is a CUDA device, the PyTorch engine on this course's CPU device elsewhere.
"""

from dataclasses import dataclass
from typing import Any

from labutils.cpu import activate
from labutils.errors import LabError


@dataclass(frozen=True)
class Device:
    """Where LMDeploy runs on this machine."""

    kind: str
    """'cpu' or 'cuda'."""
    engine: str
    """'PyTorch' or 'TurboMind'."""
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} engine on {self.kind}: {self.reason}"


def find_device() -> Device:
    """The device of this process, with the reason.

    LAB_DEVICE=cpu or cuda overrides the choice.

    Raises:
        LabError: a variable asks for a device that this machine does not have, or has no meaning.
    """
    import torch

    asked = activate.requested()
    if activate.is_active():
        why = "asked for by LAB_DEVICE or LMDEPLOY_CPU" if asked else "PyTorch finds no CUDA device"
        return Device("cpu", "PyTorch", why)
    if not torch.cuda.is_available():
        raise LabError(
            "LAB_DEVICE or LMDEPLOY_CPU asks for a GPU, but PyTorch finds no CUDA device: unset "
            "it to use the CPU device, or run lab doctor to see what the GPU lacks."
        )
    return Device("cuda", _cuda_engine(), f"PyTorch finds {torch.cuda.get_device_name(0)}")


def _cuda_engine() -> str:
    """TurboMind, unless this LMDeploy was built without it."""
    from lmdeploy import turbomind

    return "TurboMind" if turbomind.is_available() else "PyTorch"


def engine_config(
    dtype: str = "auto",
    quant_policy: int = 0,
    session_len: int | None = None,
    **engine_options: Any,
) -> Any:
    """LMDeploy's engine config for this machine; prints which engine that is, and why.

    Args:
        dtype: 'auto', 'float16', 'bfloat16', and 'float32' on the CPU device only.
        quant_policy: KV cache format: 0 none, 8 int8, 4 int4.
        session_len: longest session in tokens; None takes the model's own limit.
        engine_options: further fields of the engine's config class, such as max_batch_size.

    Returns:
        A TurbomindEngineConfig where TurboMind runs, a PytorchEngineConfig elsewhere.

    Raises:
        LabError: the engine has no such option.
    """
    from lmdeploy import PytorchEngineConfig, TurbomindEngineConfig

    device = find_device()
    config_class = TurbomindEngineConfig if device.engine == "TurboMind" else PytorchEngineConfig
    options = dict(engine_options, dtype=dtype, quant_policy=quant_policy, session_len=session_len)
    unknown = sorted(set(options) - set(config_class.__dataclass_fields__))
    if unknown:
        raise LabError(f"{config_class.__name__} has no option {', '.join(unknown)}.")
    if dtype == "float32" and device.kind != "cpu":
        raise LabError("LMDeploy has no float32 on a GPU: choose 'float16' or 'bfloat16'.")
    print(device)
    return config_class(**options)
