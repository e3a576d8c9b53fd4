"""What this machine is, as plain facts; nothing is judged here (see `labutils.doctor`).

Every probe answers even where what it looks for is missing or broken, because a machine that
cannot run the lessons is the one that needs the facts most.
"""

import ctypes
import os
import platform
import shutil
import site
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from labutils import provenance
from labutils.cpu import activate
from labutils.paths import ROOT

SERVER_PORT = 23333
"""api_server's default."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU; sizes in bytes."""

    name: str
    card_bytes: int
    """Memory of the whole card, as nvidia-smi shows it."""
    usable_bytes: int
    """Memory that CUDA gives this process: less than the card's in a slice."""
    free_bytes: int


@dataclass(frozen=True)
class Facts:
    """Everything `doctor` looks at; sizes in bytes, versions as (major, minor)."""

    python: tuple[int, int]
    system: str
    processor: str
    kernel: str
    lmdeploy: str | None
    torch: str | None
    torch_cuda: tuple[int, int] | None
    """The CUDA release that PyTorch was built for; None for a CPU build."""
    driver_cuda: tuple[int, int] | None
    """The newest CUDA release that the NVIDIA driver supports; None without a driver."""
    asked_for_cpu: bool | None
    """What LAB_DEVICE or LMDEPLOY_CPU says; None: nothing."""
    gpu: Gpu | None
    """None where PyTorch sees no CUDA device."""
    memory: int
    disk: int
    port_is_free: bool
    shadowed: tuple[str, ...]
    """Packages in the user's own site-packages that hide the environment's."""
    index: str | None
    """pip's package index, when it is not PyPI."""
    turbomind: str | None = None
    """Why TurboMind does not load beside a GPU; '' if it does; None where nothing asked."""


def collect() -> Facts:
    """The facts of this machine and this environment."""
    torch_version, torch_cuda, sees_gpu = _torch()
    return Facts(
        python=sys.version_info[:2],
        system=platform.system(),
        processor=platform.machine(),
        kernel=platform.release(),
        lmdeploy=provenance.versions().get("lmdeploy"),
        torch=torch_version,
        torch_cuda=torch_cuda,
        driver_cuda=_driver_cuda(),
        asked_for_cpu=activate.requested(),
        gpu=_gpu() if sees_gpu else None,
        memory=psutil.virtual_memory().available,
        disk=shutil.disk_usage(ROOT).free,
        port_is_free=_is_free(SERVER_PORT),
        shadowed=_shadowed(),
        index=_index(),
        turbomind=_turbomind() if sees_gpu else None,
    )


def _torch() -> tuple[str | None, tuple[int, int] | None, bool]:
    """(version, CUDA release it was built for, whether it sees a GPU); Nones if it cannot load."""
    try:
        import torch
    except (ImportError, OSError):
        return None, None, False
    built = torch.version.cuda
    cuda = tuple(int(part) for part in built.split(".")[:2]) if built else None
    return torch.__version__, cuda, torch.cuda.is_available()


def _driver_cuda() -> tuple[int, int] | None:
    """From cuDriverGetVersion, which encodes 12.8 as 12080."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return None if failed else (version.value // 1000, version.value % 1000 // 10)


def _gpu() -> Gpu:
    import torch

    free, usable = torch.cuda.mem_get_info(0)
    return Gpu(torch.cuda.get_device_name(0), _card_bytes() or usable, usable, free)


def _card_bytes() -> int | None:
    """Memory of the first card by nvidia-smi, which knows nothing of slices."""
    size = provenance.gpu().get("memory.total", "").removesuffix(" MiB")
    return int(size) * 2**20 if size.isdecimal() else None


def _turbomind() -> str:
    """Why LMDeploy's own engine does not load, such as a CUDA library that is not there."""
    try:
        from lmdeploy import turbomind
    except Exception as error:  # a broken environment must still get its findings
        return f"{type(error).__name__}: {error}"
    return "" if turbomind.is_available() else str(turbomind._import_error)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _shadowed() -> tuple[str, ...]:
    """Top-level names of ours that the user's site-packages offers first."""
    folder = site.getusersitepackages()
    if not site.ENABLE_USER_SITE or folder not in sys.path:
        return ()
    ours = ("lmdeploy", "torch", "transformers", "numpy", "labutils")
    return tuple(name for name in ours if (Path(folder) / name).exists())


def _index() -> str | None:
    """pip's index as set in its environment variable or its configuration."""
    if os.environ.get("PIP_INDEX_URL"):
        return os.environ["PIP_INDEX_URL"]
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip() or None
