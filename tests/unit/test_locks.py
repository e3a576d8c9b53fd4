"""The lock files are for every supported Python and for a stranger's pip, not for one machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
LOCKS = sorted(path.stem for path in FOLDER.glob("*.txt") if path.stem != "cpu-overrides")
# First and late releases of each Python, because markers split inside of 3.11, too.
PYTHONS = [f"3.{minor}.{patch}" for minor in (10, 11, 12, 13) for patch in (0, 14)]
CONDA = next(filter(None, map(shutil.which, ("conda", "mamba", "micromamba"))), None)
# Pure Python that its authors publish as one wheel, without a source archive.
ONE_FILE = {"cuda-pathfinder"}


def pins(lock: str) -> list[tuple[Requirement, set[str]]]:
    """Each requirement of a lock file, and its hashes."""
    text = (FOLDER / f"{lock}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    parts = [re.split(r"\s+--hash=", line) for line in lines]
    return [(Requirement(first), set(hashes)) for first, *hashes in parts]


def version(requirement: Requirement) -> str:
    assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
    return str(requirement.specifier)[2:]


def applies(requirement: Requirement, python: str) -> bool:
    environment = {
        **default_environment(),
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def versions(lock: str, python: str) -> dict[str, str]:
    """What a lock file installs on this Python."""
    chosen = [(r.name, version(r)) for r, _ in pins(lock) if applies(r, python)]
    assert len(chosen) == len(dict(chosen)), "a package is pinned twice for one Python"
    return dict(chosen)


def test_there_are_locks():
    assert {"cpu", "gpu", "dev", "lmdeploy", "model"} <= set(LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_hashed_pin(lock):
    for requirement, hashes in pins(lock):
        assert version(requirement) and not requirement.url and not requirement.extras
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes)


@pytest.mark.parametrize("lock", [*LOCKS, "cpu-overrides"])
def test_no_lock_names_a_place(lock):
    text = (FOLDER / f"{lock}.txt").read_text()
    for place in ("file:", "://", "--index-url", "--extra-index-url", "--find-links", " @ "):
        assert place not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_a_pin_lists_all_the_files_of_its_release(lock):
    """A file built or changed on one machine would stand alone, without the release's others."""
    alone = {requirement.name for requirement, hashes in pins(lock) if len(hashes) == 1}
    assert alone <= ONE_FILE


def built_for_this_python() -> set[str]:
    """Installed packages whose wheel is for one Python only, by their own WHEEL files."""
    tag = f"Tag: cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-"
    found = [each for each in distributions() if tag in (each.read_text("WHEEL") or "")]
    return {canonicalize_name(each.metadata["Name"]) for each in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_compiled_packages_have_a_hash_for_each_python(lock):
    compiled = built_for_this_python()
    for requirement, hashes in pins(lock):
        if requirement.name in compiled:
            wanted = {python[:4] for python in PYTHONS if applies(requirement, python)}
            assert len(hashes) >= len(wanted), requirement


def test_the_cpu_lock_leaves_torch_and_triton_out():
    names = {requirement.name for requirement, _ in pins("cpu")}
    assert not names & {"torch", "triton", "lmdeploy", "ray", "rdkit"}
    assert not [name for name in names if name.startswith("nvidia")]


def test_the_gpu_lock_is_lmdeploy_on_its_cuda_12_stack():
    for python in PYTHONS:
        chosen = versions("gpu", python)
        assert (chosen["torch"], chosen["lmdeploy"]) == ("2.10.0", "0.18.0")


def test_both_profiles_have_the_same_lmdeploy():
    gpu = [(str(r), hashes) for r, hashes in pins("gpu") if r.name == "lmdeploy"]
    assert [(str(r), hashes) for r, hashes in pins("lmdeploy")] == gpu


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_that_meet_agree(python):
    cpu, gpu, dev = (versions(lock, python) for lock in ("cpu", "gpu", "dev"))
    for one, other in [(cpu, gpu), (cpu, dev), (gpu, dev)]:
        differ = {name for name in one.keys() & other.keys() if one[name] != other[name]}
        assert not differ, "run `make lock`"


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_fulfil_pyproject(python):
    """Whoever edits pyproject.toml without `make lock` learns it here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {name: project["project"]["dependencies"] + extras[name] for name in ("cpu", "gpu")}
    wanted["dev"] = project["dependency-groups"]["dev"]
    for lock, lines in wanted.items():
        chosen = versions(lock, python)
        for requirement in map(Requirement, lines):
            assert chosen[requirement.name] in requirement.specifier, "run `make lock`"


def test_conda_uses_the_gpu_lock():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    named = re.findall(r"requirements/[\w.]+", "\n".join(lines))
    assert all((ROOT / path).exists() for path in named)
    assert "      - -r requirements/gpu.txt" in lines


@pytest.mark.network
@pytest.mark.timeout(1800)
def test_the_gpu_profile_resolves(tmp_path):
    """Told of the pins alone, pip finds packages for this Python that agree, with these hashes."""
    chosen = [
        (r, h) for r, h in pins("gpu") if applies(r, ".".join(map(str, sys.version_info[:3])))
    ]
    (tmp_path / "pins.txt").write_text("".join(f"{r.name}{r.specifier}\n" for r, _ in chosen))
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--report", "report.json", "-r", "pins.txt"]
    command += ["--index-url", "https://pypi.org/simple", "--no-cache-dir", "--quiet"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(command, cwd=tmp_path, env={**env, "PIP_CONFIG_FILE": os.devnull}, check=True)
    installs = json.loads((tmp_path / "report.json").read_text())["install"]
    found = {
        canonicalize_name(each["metadata"]["name"]): each["download_info"]["archive_info"]["hashes"]
        for each in installs
    }
    assert found.keys() == {canonicalize_name(r.name) for r, _ in chosen}, "nothing else is needed"
    for requirement, hashes in chosen:
        hashed = found[canonicalize_name(requirement.name)]["sha256"]
        assert f"sha256:{hashed}" in hashes, requirement


@pytest.mark.network
@pytest.mark.skipif(not CONDA, reason="neither conda, mamba nor micromamba is installed")
def test_the_conda_environment_resolves():
    """What conda itself brings; its pip section is the GPU profile, see above."""
    command = [CONDA, "env", "create", "--dry-run", "--file", "environment.yml"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)


def test_the_gpu_profile_suits_the_python_of_the_conda_environment():
    python = re.search(r"- python=(3\.\d+)", (ROOT / "environment.yml").read_text())[1]
    chosen = versions("gpu", f"{python}.0")
    assert chosen["lmdeploy"] == "0.18.0" and chosen["torch"].startswith("2.10.0")


@pytest.mark.network
def test_pypi_has_what_is_locked(tmp_path):
    """pip, told of no other place, finds files with these hashes on PyPI."""
    few = {"six", "markupsafe", "cloudpickle"}
    text = (FOLDER / "cpu.txt").read_text().replace("\\\n", "")
    chosen = [line for line in text.splitlines() if line.partition("=")[0] in few]
    (tmp_path / "few.txt").write_text("\n".join(chosen) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--index-url", "https://pypi.org/simple", "-r", "few.txt"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(command, cwd=tmp_path, env={**env, "PIP_CONFIG_FILE": os.devnull}, check=True)
    assert len(list(tmp_path.glob("*.whl"))) == len(few)
