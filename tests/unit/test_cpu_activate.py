"""When the CPU device takes over, seen from fresh Python processes."""

import os
import subprocess
import sys
from pathlib import Path

import lmdeploy

ONE_SENTENCE = 1


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_python_start_loads_next_to_nothing():
    names = "{'labutils', 'torch', 'numpy', 'psutil', 'ast', 'typing', 'importlib.machinery'}"
    loaded = python(f"import sys; print(sys.meta_path[0].__name__, {names} & set(sys.modules))")
    assert loaded.stdout.strip() == "LabGate set()"


DEVICE = "from lmdeploy import PytorchEngineConfig as C; print(C().device_type)"


def test_the_variable_decides():
    assert python(DEVICE, LMDEPLOY_CPU="1").stdout.strip() == "cpu"
    assert python(DEVICE, LMDEPLOY_CPU="0").stdout.strip() == "cuda"


def test_the_lessons_own_variable_decides_first():
    assert python(DEVICE, LAB_DEVICE="cpu", LMDEPLOY_CPU="0").stdout.strip() == "cpu"
    assert python(DEVICE, LAB_DEVICE="cuda", LMDEPLOY_CPU="1").stdout.strip() == "cuda"
    failed = python("import lmdeploy", LAB_DEVICE="tpu")
    assert "LAB_DEVICE='tpu' means nothing: set it to one of auto, cpu, cuda." in failed.stderr


def test_asking_for_a_gpu_where_there_is_none_is_one_sentence():
    import pytest
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    failed = python("from labutils import find_device as f; f()", LAB_DEVICE="cuda")
    assert "PyTorch finds no CUDA device: unset it to use the CPU device" in failed.stderr


def test_automatic_means_where_there_is_no_cuda_device():
    import torch

    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert python(DEVICE, LMDEPLOY_CPU="auto").stdout.strip() == expected


def test_spawned_processes_get_it_too():
    code = (
        "import multiprocessing as mp, runpy\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool:\n"
        f"        pool.apply(exec, ({DEVICE!r},))\n"
    )
    assert python(code, LMDEPLOY_CPU="1").stdout.strip() == "cpu"


def test_a_value_without_meaning_is_one_sentence():
    failed = python("import lmdeploy", LMDEPLOY_CPU="yes")
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines() == [
        "lmdeploy on the CPU device: LMDEPLOY_CPU='yes' means nothing: set it to one of auto, 1, 0."
    ]


def other_release(folder: Path, version: str) -> str:
    """The installed LMDeploy with another release's number, first on the path."""
    installed = Path(lmdeploy.__file__).parent
    package = folder / "lmdeploy"
    package.mkdir()
    for file in installed.iterdir():
        if file.name not in ("version.py", "__pycache__"):
            (package / file.name).symlink_to(file)
    text = (installed / "version.py").read_text()
    (package / "version.py").write_text(text.replace(lmdeploy.__version__, version))
    return str(folder)


def test_another_release_is_refused_naming_the_supported_one(tmp_path):
    failed = python(
        "import lmdeploy", PYTHONPATH=other_release(tmp_path, "0.17.0"), LMDEPLOY_CPU="1"
    )
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == ONE_SENTENCE
    assert "LMDeploy 0.17.0 is installed" in failed.stderr
    assert "0.18.0" in failed.stderr


def test_a_patch_without_its_target_is_refused(monkeypatch):
    from types import ModuleType

    import pytest

    from labutils.cpu import patches
    from labutils.errors import LabError

    module = ModuleType("lmdeploy.changed")
    monkeypatch.setitem(patches._PATCHES, module.__name__, [("Gone.method", lambda old: old)])
    with pytest.raises(LabError, match=r"lmdeploy\.changed has no Gone\.method"):
        patches.apply(module)
