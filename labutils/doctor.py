"""`lab doctor`: can this machine run the lessons, with which engine, and if not, what to do.

Judges the facts of `labutils.machine`, one small check each. A finding that is not ok either stops
the lessons or only narrows them; only the first kind makes the exit code 1.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from labutils.cpu import SUPPORTED
from labutils.device import Device, choose
from labutils.machine import SERVER_PORT, Facts
from labutils.troubleshooting import PAGE

GIB = 2**30
NEEDED_MEMORY = 3 * GIB
"""Resident memory of a lesson on the course's own model, with room for its notebook."""
NEEDED_DISK = 2 * GIB
"""For models and executed lessons, beside the environment."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `fix` says what to do when it is not ok."""

    check: str
    ok: bool
    message: str
    fix: str = ""
    stops: bool = True
    """Whether the lessons cannot run before it is mended."""


def diagnose(facts: Facts) -> list[Finding]:
    """Judge a machine; every check gives exactly one finding."""
    checks = (
        _python,
        _platform,
        _lmdeploy,
        _torch,
        _gpu,
        _asked,
        _memory,
        _disk,
        _port,
        _shadow,
        _index,
    )
    return [check(facts) for check in checks]


def can_run(findings: list[Finding]) -> bool:
    """Whether nothing stands in the way of the lessons."""
    return all(finding.ok or not finding.stops for finding in findings)


def device_of(facts: Facts) -> Device:
    """The device that lessons get; one that is asked for and not there shows as a finding."""
    gpu = facts.gpu.name if facts.gpu else None
    in_vain = facts.asked_for_cpu is False and gpu is None  # what `_asked` reports
    return choose(None if in_vain else facts.asked_for_cpu, gpu, not facts.turbomind)


def report(facts: Facts) -> dict[str, Any]:
    """What `lab doctor --json` prints."""
    fields = ("check", "ok", "message", "fix")
    findings = [{k: asdict(f)[k] for k in fields} for f in diagnose(facts)]
    return {"device": asdict(device_of(facts)), "findings": findings}


def lines(facts: Facts) -> Iterator[str]:
    """The same for people."""
    yield f"{device_of(facts)}\n"
    for finding in diagnose(facts):
        yield f"{'ok' if finding.ok else '!!'}  {finding.check:<10} {finding.message}"
        if finding.fix:
            yield f"                → {finding.fix}"
    if any(not finding.ok for finding in diagnose(facts)):
        yield f"\nMore on each check, under its name: {PAGE}"


# --- the checks ---------------------------------------------------------------------------------


def _python(facts: Facts) -> Finding:
    version = ".".join(map(str, facts.python))
    ok = (3, 10) <= facts.python <= (3, 13)
    fix = "" if ok else "Use Python 3.10 to 3.13: make run PYTHON=python3.11."
    return Finding("python", ok, f"Python {version}", fix)


def _platform(facts: Facts) -> Finding:
    ok = (facts.system, facts.processor) == ("Linux", "x86_64")
    wsl = ok and "microsoft" in facts.kernel.lower()
    name = f"{facts.system} on {facts.processor}" + (" (WSL2)" if wsl else "")
    fix = (
        "" if ok else "The course runs on Linux x86-64 only: use such a machine; on Windows, WSL2."
    )
    return Finding("platform", ok, name, fix)


def _lmdeploy(facts: Facts) -> Finding:
    ok = facts.lmdeploy in SUPPORTED
    message = f"LMDeploy {facts.lmdeploy}" if facts.lmdeploy else "LMDeploy is not installed"
    fix = "" if ok else f"Install LMDeploy {' or '.join(SUPPORTED)}: make run does."
    if ok and facts.turbomind:
        message += f", but TurboMind does not load: {facts.turbomind}"
        return Finding("lmdeploy", False, message, _turbomind_fix(facts), False)
    return Finding("lmdeploy", ok, message, fix)


def _turbomind_fix(facts: Facts) -> str:
    """LMDeploy's wheels are built for CUDA 12 and look for its libraries where PyTorch has them."""
    cuda = _dotted(facts.torch_cuda) if facts.torch_cuda else "none"
    return (
        "Until it is mended, lessons run on the PyTorch engine. LMDeploy's wheel needs the "
        f"libraries of CUDA 12, and PyTorch was built for CUDA {cuda}: LAB_PROFILE=gpu make run "
        "installs one CUDA 12.8 stack."
    )


def _torch(facts: Facts) -> Finding:
    if facts.torch is None:
        return Finding("torch", False, "PyTorch does not load", "Run make run again.")
    built = "for CPUs" if not facts.torch_cuda else f"for CUDA {_dotted(facts.torch_cuda)}"
    return Finding("torch", True, f"PyTorch {facts.torch}, built {built}")


def _gpu(facts: Facts) -> Finding:
    """No GPU is no fault; a GPU that cannot be used is one, and the lessons run on the CPU."""
    if facts.driver_cuda is None:
        return Finding("gpu", True, "no NVIDIA driver: lessons run on the CPU device")
    driver = f"the driver supports CUDA {_dotted(facts.driver_cuda)}"
    if facts.gpu is None:
        return Finding("gpu", False, f"{driver}, but PyTorch sees no GPU", _gpu_fix(facts), False)
    return Finding("gpu", True, f"{facts.gpu.name}, {driver}; {_gpu_memory(facts)}")


def _gpu_fix(facts: Facts) -> str:
    """Why a driver is there and PyTorch cannot use it."""
    if facts.torch_cuda is None:
        return "PyTorch is a CPU build: LAB_PROFILE=gpu make run."
    if facts.torch_cuda[0] > facts.driver_cuda[0]:
        return (
            f"PyTorch was built for CUDA {_dotted(facts.torch_cuda)}: update the NVIDIA driver, or "
            "LAB_PROFILE=gpu make run, which installs a CUDA 12.8 build."
        )
    return "Check nvidia-smi and CUDA_VISIBLE_DEVICES; on InternStudio start a machine with a GPU."


def _gpu_memory(facts: Facts) -> str:
    """Usable memory, and which share of the card that is when it is a slice."""
    gpu = facts.gpu
    text = f"{gpu.usable_bytes / GIB:.1f} GiB of memory, {gpu.free_bytes / GIB:.1f} free"
    share = gpu.usable_bytes / gpu.card_bytes
    if "MIG" in gpu.name:
        return f"{text}, a MIG slice"
    return text if share > 0.95 else f"{text}, a slice of {100 * share:.0f} % of the card"


def _asked(facts: Facts) -> Finding:
    if facts.asked_for_cpu is not False or facts.gpu:
        return Finding("device", True, "LAB_DEVICE and LMDEPLOY_CPU leave a device to run on")
    message = "LAB_DEVICE or LMDEPLOY_CPU asks for a GPU, and there is none"
    return Finding("device", False, message, "Unset it to use the CPU device.")


def _memory(facts: Facts) -> Finding:
    ok = facts.memory >= NEEDED_MEMORY
    fix = "" if ok else f"Close programs: lessons need {NEEDED_MEMORY / GIB:.0f} GiB."
    return Finding("memory", ok, f"{facts.memory / GIB:.1f} GiB available", fix)


def _disk(facts: Facts) -> Finding:
    ok = facts.disk >= NEEDED_DISK
    fix = "Make room, or set LAB_MODELS_DIR to a folder on another disk."
    return Finding("disk", ok, f"{facts.disk / GIB:.1f} GiB free", "" if ok else fix)


def _port(facts: Facts) -> Finding:
    """Lessons take free ports; only a server typed by hand wants this one."""
    state = "free" if facts.port_is_free else "taken"
    fix = "" if facts.port_is_free else "Give lmdeploy serve another one with --server-port."
    message = f"port {SERVER_PORT} (api_server's default) is {state}"
    return Finding("ports", facts.port_is_free, message, fix, False)


def _shadow(facts: Facts) -> Finding:
    if not facts.shadowed:
        return Finding("packages", True, "no package of your own hides the environment's")
    names = ", ".join(facts.shadowed)
    fix = "Set PYTHONNOUSERSITE=1, or remove them: pip uninstall them outside the environment."
    return Finding("packages", False, f"your user site-packages hides {names}", fix)


def _index(facts: Facts) -> Finding:
    return Finding("mirror", True, f"pip installs from {facts.index or 'PyPI'}")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
