"""`lab doctor` on machines that the tests describe, and on this one."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from labutils import doctor
from labutils.doctor import GIB
from labutils.machine import Facts, Gpu

LAPTOP = Facts(
    python=(3, 11),
    system="Linux",
    processor="x86_64",
    kernel="6.1.0",
    lmdeploy="0.18.0",
    torch="2.13.0+cpu",
    torch_cuda=None,
    driver_cuda=None,
    asked_for_cpu=None,
    gpu=None,
    memory=8 * GIB,
    disk=50 * GIB,
    port_is_free=True,
    shadowed=(),
    index=None,
)
H100 = replace(
    LAPTOP,
    torch="2.10.0+cu128",
    torch_cuda=(12, 8),
    driver_cuda=(12, 8),
    gpu=Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, 80 * GIB, 79 * GIB),
)
SLICE = replace(H100, gpu=Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB, 24 * GIB, 23 * GIB))


def finding(facts: Facts, check: str) -> doctor.Finding:
    (found,) = [f for f in doctor.diagnose(facts) if f.check == check]
    return found


@pytest.mark.parametrize("facts", [LAPTOP, H100, SLICE])
def test_machines_in_order(facts):
    findings = doctor.diagnose(facts)
    assert [f.check for f in findings if not f.ok] == []
    assert doctor.can_run(findings)
    assert not any(f.fix for f in findings)


def test_the_engine_follows_the_machine():
    assert doctor.device_of(LAPTOP).engine == "PyTorch"
    found = doctor.device_of(H100)
    assert (found.kind, found.engine) == ("cuda", "TurboMind")
    assert found.reason == "PyTorch finds NVIDIA H100 80GB HBM3"
    assert doctor.device_of(replace(H100, asked_for_cpu=True)).kind == "cpu"


def test_a_slice_is_told_from_a_card():
    assert "a slice of 30 % of the card" in finding(SLICE, "gpu").message
    assert "slice" not in finding(H100, "gpu").message
    mig = replace(H100, gpu=Gpu("NVIDIA A100 MIG 1g.10gb", 10 * GIB, 10 * GIB, 9 * GIB))
    assert "a MIG slice" in finding(mig, "gpu").message


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"torch_cuda": (13, 0), "driver_cuda": (12, 4)}, "built for CUDA 13.0: update"),
        ({"torch": "2.13.0+cpu", "torch_cuda": None}, "PyTorch is a CPU build: LAB_PROFILE=gpu"),
        ({"driver_cuda": (12, 4)}, "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_explained_and_lessons_run_on_the_cpu(changes, fix):
    facts = replace(H100, gpu=None, **changes)
    assert not finding(facts, "gpu").ok
    assert fix in finding(facts, "gpu").fix
    assert doctor.can_run(doctor.diagnose(facts))
    assert doctor.device_of(facts).kind == "cpu"


@pytest.mark.parametrize("cuda", [(13, 0), (12, 8)])
def test_a_turbomind_that_does_not_load_is_explained_and_lessons_run_without_it(cuda):
    why = "libcublas.so.12: cannot open shared object file: No such file or directory"
    facts = replace(H100, torch_cuda=cuda, driver_cuda=(13, 0), turbomind=why)
    found = finding(facts, "lmdeploy")
    assert not found.ok and why in found.message
    assert f"built for CUDA {cuda[0]}.{cuda[1]}: LAB_PROFILE=gpu make run" in found.fix
    assert doctor.can_run(doctor.diagnose(facts))
    assert (doctor.device_of(facts).kind, doctor.device_of(facts).engine) == ("cuda", "PyTorch")


def test_a_turbomind_that_loads_is_no_finding():
    assert finding(replace(H100, turbomind=""), "lmdeploy").ok
    assert doctor.device_of(replace(H100, turbomind="")).engine == "TurboMind"


def test_a_library_that_is_missing_is_named():
    """On a machine without CUDA, this is what the probe meets."""
    import torch

    from labutils import machine

    if torch.cuda.is_available():
        pytest.skip("TurboMind loads here")
    assert machine._turbomind()
    assert machine.collect().turbomind is None, "nobody asks without a GPU"


def test_wsl2_is_named():
    wsl = replace(LAPTOP, kernel="5.15.153.1-microsoft-standard-WSL2")
    assert finding(wsl, "platform").message == "Linux on x86_64 (WSL2)"


@pytest.mark.parametrize(
    ("changes", "check", "fix"),
    [
        ({"system": "Darwin", "processor": "arm64"}, "platform", "WSL2"),
        ({"processor": "aarch64"}, "platform", "Linux x86-64 only"),
        ({"python": (3, 9)}, "python", "PYTHON=python3.11"),
        ({"lmdeploy": "0.17.0"}, "lmdeploy", "0.18.0"),
        ({"lmdeploy": None}, "lmdeploy", "make run"),
        ({"torch": None}, "torch", "make run"),
        ({"asked_for_cpu": False}, "device", "Unset it"),
        ({"memory": GIB}, "memory", "Close programs"),
        ({"disk": 0}, "disk", "LAB_MODELS_DIR"),
        ({"shadowed": ("torch",)}, "packages", "PYTHONNOUSERSITE=1"),
    ],
)
def test_what_stops_the_lessons(changes, check, fix):
    findings = doctor.diagnose(replace(LAPTOP, **changes))
    (bad,) = [f for f in findings if not f.ok]
    assert bad.check == check
    assert fix in bad.fix
    assert not doctor.can_run(findings)


def test_a_taken_port_does_not_stop_the_lessons():
    findings = doctor.diagnose(replace(LAPTOP, port_is_free=False))
    assert doctor.can_run(findings)
    assert "--server-port" in finding(replace(LAPTOP, port_is_free=False), "ports").fix


def lab(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labutils.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_this_machine():
    import torch

    done = lab("--json")
    said = json.loads(done.stdout)
    assert said["device"]["kind"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert {"check", "ok", "message", "fix"} == set(said["findings"][0])
    stops = {f.check for f in doctor.diagnose(LAPTOP) if f.stops}
    bad = [f["check"] for f in said["findings"] if not f["ok"] and f["check"] in stops]
    assert done.returncode == (1 if bad else 0)
    assert "engine on" in lab().stdout.splitlines()[0]
