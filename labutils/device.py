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


def choose(asked_for_cpu: bool | None, gpu: str | None, has_turbomind: bool = True) -> Device:
    """The device and engine that lessons get, with the reason.

    Args:
        asked_for_cpu: what LAB_DEVICE or LMDEPLOY_CPU says (None: nothing).
        gpu: name of the CUDA device that PyTorch sees, or None.
        has_turbomind: whether this LMDeploy was built with TurboMind.

    Raises:
        LabError: a GPU was asked for and there is none.
    """
    if asked_for_cpu:
        return Device("cpu", "PyTorch", "asked for by LAB_DEVICE or LMDEPLOY_CPU")
    if gpu:
        return Device("cuda", "TurboMind" if has_turbomind else "PyTorch", f"PyTorch finds {gpu}")
    if asked_for_cpu is None:
        return Device("cpu", "PyTorch", "PyTorch finds no CUDA device")
    raise LabError(
        "LAB_DEVICE or LMDEPLOY_CPU asks for a GPU, but PyTorch finds no CUDA device: unset it to "
        "use the CPU device, or run lab doctor to see what the GPU lacks."
    )


def find_device() -> Device:
    """The device of this process; LAB_DEVICE=cpu or cuda overrides the choice.

    Raises:
        LabError: a variable asks for a GPU that is not there, or has no meaning.
    """
    import torch

    asked = activate.requested()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if asked or gpu is None:
        return choose(asked, gpu)
    from lmdeploy import turbomind

    return choose(asked, gpu, turbomind.is_available())


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
        LabError: the engine has no such option or format.
    """
    from lmdeploy import PytorchEngineConfig, TurbomindEngineConfig
    from lmdeploy.messages import QuantPolicy

    device = find_device()
    config_class = TurbomindEngineConfig if device.engine == "TurboMind" else PytorchEngineConfig
    options = dict(engine_options, dtype=dtype, quant_policy=quant_policy, session_len=session_len)
    unknown = sorted(set(options) - set(config_class.__dataclass_fields__))
    if unknown:
        raise LabError(f"{config_class.__name__} has no option {', '.join(unknown)}.")
    if quant_policy not in set(QuantPolicy):
        raise LabError(
            f"quant_policy={quant_policy} is no KV cache format of LMDeploy: choose 8 (int8), "
            "4 (int4) or 0 (none)."
        )
    if dtype == "float32" and device.kind != "cpu":
        raise LabError("LMDeploy has no float32 on a GPU: choose 'float16' or 'bfloat16'.")
    print(device)
    return config_class(**options)
