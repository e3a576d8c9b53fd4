"""Runs inside the environment of LMDeploy 0.2.4: its own command line, on a machine without a GPU.

    python -m labutils.classic.shim convert internlm2-chat-7b MODEL --dst-path WORKSPACE

No file of LMDeploy is changed. Two things that only a CUDA 11 machine has are replaced before it
is imported; everything else, argument parser, readers, exporters, calibration, is LMDeploy's own.
"""

import importlib.util
import sys
import types
from pathlib import Path

from labutils.classic import awq


def refuse(name: str) -> None:
    """What `_turbomind` does in CUDA and nothing here can do."""
    raise SystemExit(  # on a line of its own, below LMDeploy's progress bar
        f"\nLMDeploy 0.2.4 calls _turbomind.{name}, which only its library for CUDA 11 has: use a "
        "machine with that."
    )


class _TurboMind(types.ModuleType):
    """Stands in for LMDeploy's compiled library, which loads only where CUDA 11 is installed.

    `convert` imports it for its three 4-bit functions; the engine's modules name two of its types.
    """

    TensorMap = Tensor = type("TensorMap", (), {})
    transpose_qk_s4_k_m8 = staticmethod(awq.transpose_qk_s4_k_m8)
    fuse_w1_w3_s4_k_m8 = staticmethod(awq.fuse_w1_w3_s4_k_m8)
    convert_s4_k_m8 = staticmethod(awq.convert_s4_k_m8)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # what the import system asks of any module
            raise AttributeError(name)
        return lambda *args, **kwargs: refuse(name)


def loads_turbomind() -> bool:
    """Whether LMDeploy's compiled library is there and finds CUDA 11."""
    spec = importlib.util.find_spec("lmdeploy")
    if spec is None or spec.origin is None:
        return False
    sys.path.append(str(Path(spec.origin).parent / "lib"))  # where LMDeploy itself looks
    try:
        import _turbomind  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    """Put the replacements in place and hand over to LMDeploy."""
    import torch

    if not loads_turbomind():
        sys.modules["_turbomind"] = _TurboMind("_turbomind")
    if not torch.cuda.is_available():
        # The exporter moves every weight to the GPU to transpose it; transposing works anywhere.
        torch.Tensor.cuda = lambda self, *args, **kwargs: self
    from lmdeploy.cli import run

    sys.argv[0] = "lmdeploy"
    run()


if __name__ == "__main__":
    main()
