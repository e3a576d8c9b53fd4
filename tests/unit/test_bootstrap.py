"""The set-up: its refusals, its memory of what is done, and a small real run of it."""

import ast
import ctypes
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from waiting import lives, wait_for

from labutils import bootstrap
from labutils.bootstrap import Step

SOURCE = Path(bootstrap.__file__)
VENV = Step("venv", "virtual environment", 1, b"")
LOCK = Step("lock", "packages", 1, b"a==1\n", ("-r", "lock.txt"))
IDENTITY = {"Python": "3.11", "profile": "cpu", "folder": "/course"}


def sentence(capsys, call, *arguments) -> str:
    """What `call` says as it refuses: one line, exit code 2."""
    with pytest.raises(SystemExit) as refusal:
        call(*arguments)
    said = capsys.readouterr().err.strip()
    assert refusal.value.code == 2
    assert said.endswith((".", "`.")) and "\n" not in said
    return said


# Refusals


def test_python_3_6_can_parse_it():
    ast.parse(SOURCE.read_text(), feature_version=(3, 6))


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH of our own: `path(name, code)` puts a program there that exits with that code."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, code: int) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)

    return put


@pytest.mark.parametrize("version", [(3, 6), (3, 9), (3, 14), (4, 0)])
def test_refuses_other_pythons(version, path, capsys):
    said = sentence(capsys, bootstrap.check_python, version, "cpython", "run")
    assert f"Python {version[0]}.{version[1]}:" in said
    assert "install one" in said and "make run PYTHON=" in said


def test_names_a_python_that_works(path, capsys):
    path("python3.11", 127)  # a version manager's name for something that is not active
    path("python3.12", 0)
    said = sentence(capsys, bootstrap.check_python, (3, 9), "cpython", "test")
    assert said.endswith("run `make test PYTHON=python3.12`.")


def test_refuses_pypy(capsys):
    assert "PyPy 3.11" in sentence(capsys, bootstrap.check_python, (3, 11), "pypy", "run")


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_takes_supported_pythons(minor):
    bootstrap.check_python((3, minor), "cpython", "run")


def old_python() -> str | None:
    for name in ("python3.6", "python3.7", "python3.8", "python3.9"):
        if shutil.which(name) and subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return name
    return None


@pytest.mark.skipif(old_python() is None, reason="no Python older than 3.10 on PATH")
def test_an_old_python_gets_a_sentence_and_writes_nothing(tmp_path):
    copy = tmp_path / "labutils" / "bootstrap.py"
    copy.parent.mkdir()
    shutil.copy(SOURCE, copy)
    done = subprocess.run([old_python(), "-I", copy], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bootstrap.py", "labutils"]


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")]
)
def test_refuses_other_platforms(system, machine, capsys):
    said = sentence(capsys, bootstrap.check_platform, system, machine)
    assert system in said and machine in said and "WSL2" in said


def test_refuses_a_full_disk(tmp_path, monkeypatch, capsys):
    steps = [Step("torch", "PyTorch", 2500, b"")]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3.9e9))
    said = sentence(capsys, bootstrap.check_room, tmp_path, steps)
    assert "needs 4.0 GB" in said and "3.9 GB free" in said
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4.1e9))
    bootstrap.check_room(tmp_path, steps)


@pytest.mark.parametrize("profile", ["tpu", "GPU", " cpu"])
def test_refuses_unknown_profiles(profile, capsys):
    said = sentence(capsys, bootstrap.choose_profile, {"LAB_PROFILE": profile})
    assert repr(profile) in said


# The profile


class Driver:
    """libcuda with as many GPUs as one likes."""

    def __init__(self, error: int, count: int) -> None:
        self.error, self.count = error, count

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDeviceGetCount(self, reference) -> int:
        reference._obj.value = self.count
        return 0


@pytest.mark.parametrize(
    ("driver", "profile", "reason"),
    [
        (None, "cpu", "no NVIDIA driver (libcuda.so.1) on this machine"),
        (Driver(100, 0), "cpu", "the NVIDIA driver offers no GPU (cuInit returns 100)"),
        (Driver(0, 0), "cpu", "the NVIDIA driver offers 0 GPU(s)"),
        (Driver(0, 2), "gpu", "the NVIDIA driver offers 2 GPU(s)"),
    ],
)
def test_the_machine_chooses_the_profile(driver, profile, reason, monkeypatch):
    def load(name: str):
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert bootstrap.choose_profile({}) == (profile, reason)
    assert bootstrap.choose_profile({"LAB_PROFILE": "cpu"}) == ("cpu", "LAB_PROFILE asks for it")
    assert bootstrap.choose_profile({"LAB_PROFILE": "gpu"})[0] == "gpu"


def test_plan(monkeypatch):
    root = SOURCE.parent.parent
    monkeypatch.setattr(bootstrap, "PYTHON", "3.12")
    cpu, gpu, dev = (
        bootstrap.plan(root, profile, dev)
        for profile, dev in [("cpu", False), ("gpu", False), ("cpu", True)]
    )
    names = [step.name for step in cpu]
    assert names == ["venv", "torch", "cpu", "lmdeploy", "model", "project", "hook"]
    assert [step.name for step in gpu] == ["venv", "gpu", "model", "project", "hook"]
    assert [step for step in dev if step not in cpu] == [dev[5]] and dev[5].name == "dev"
    monkeypatch.setattr(bootstrap, "PYTHON", "3.11")
    for profile, before in [("cpu", cpu), ("gpu", gpu)]:
        now = bootstrap.plan(root, profile, False)
        assert [step.name for step in now if step not in before] == ["classic"]
    assert all("--require-hashes" in step.pip for step in cpu + now if "-r" in step.pip)


def test_torch_comes_from_the_index_that_is_named_or_answers(tmp_path, monkeypatch):
    named = {"LAB_TORCH_INDEX": "https://mirror.example/cpu"}
    assert bootstrap.torch_index(tmp_path, named) == "https://mirror.example/cpu"
    for code, index in [(0, bootstrap.TORCH_INDEX), (1, "")]:
        monkeypatch.setattr(subprocess, "call", lambda *a, code=code, **k: code)
        assert bootstrap.torch_index(tmp_path, {}) == index


# What is done already


def stamped(root: Path, state: str = "done") -> dict:
    """An environment in which both steps are done, LOCK perhaps only started."""
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").touch()
    stamp = dict(IDENTITY, steps={})
    bootstrap.mark(root, stamp, VENV, "done")
    bootstrap.mark(root, stamp, LOCK, state)
    return stamp


def test_a_deleted_old_lmdeploy_is_due_again(tmp_path):
    stamp = stamped(tmp_path)
    classic = bootstrap.Step("classic", "LMDeploy 0.2.4", 1, b"")
    (tmp_path / bootstrap.CLASSIC).mkdir()
    bootstrap.mark(tmp_path, stamp, classic, "done")
    assert bootstrap.due(bootstrap.read_stamp(tmp_path), [VENV, classic]) == []
    (tmp_path / bootstrap.CLASSIC).rmdir()
    assert bootstrap.due(bootstrap.read_stamp(tmp_path), [VENV, classic]) == [classic]


def test_finished_steps_are_skipped(tmp_path):
    stamp = stamped(tmp_path)
    assert bootstrap.usable_stamp(tmp_path, IDENTITY) == (stamp, "")
    assert bootstrap.due(bootstrap.read_stamp(tmp_path), [VENV, LOCK]) == []


def test_a_changed_lock_is_due_alone(tmp_path):
    changed = LOCK._replace(depends=b"a==2\n")
    assert bootstrap.due(stamped(tmp_path), [VENV, changed]) == [changed]


def test_a_started_step_is_redone_by_force(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(bootstrap, "run", lambda root, command, *rest: commands.append(command))
    stamp = stamped(tmp_path, "started")
    assert bootstrap.due(stamp, [VENV, LOCK]) == [LOCK]
    line = bootstrap.Line("")
    bootstrap.pip_install(tmp_path, LOCK, again=False, line=line)
    bootstrap.pip_install(tmp_path, LOCK, again=True, line=line)
    assert ["--force-reinstall" in command for command in commands] == [False, True]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Python": "3.12"}, "its Python was 3.11 and is now 3.12"),
        ({"profile": "gpu"}, "its profile was cpu and is now gpu (LAB_PROFILE=cpu keeps it)"),
        ({"folder": "/moved"}, "its folder was /course and is now /moved"),
    ],
)
def test_another_machine_gets_another_environment(change, reason, tmp_path):
    stamped(tmp_path)
    identity = dict(IDENTITY, **change)
    assert bootstrap.usable_stamp(tmp_path, identity) == (dict(identity, steps={}), reason)


def test_an_environment_without_its_python_is_made_anew(tmp_path):
    stamped(tmp_path)
    (tmp_path / ".venv" / "bin" / "python").unlink()
    assert bootstrap.usable_stamp(tmp_path, IDENTITY)[1] == "its Python is gone"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"steps": 3}', '{"steps": {}}'])
def test_a_damaged_stamp_means_nothing_is_done(text, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / bootstrap.STAMP).write_text(text)
    stamp, problem = bootstrap.usable_stamp(tmp_path, IDENTITY)
    assert problem == "this set-up did not finish making it"
    assert bootstrap.due(stamp, [VENV, LOCK]) == [VENV, LOCK]


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "stamp"
    bootstrap.write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        bootstrap.write_atomically(path, "new")
    assert path.read_text() == "old"


# What pip says

SAID = """\
Ignoring tomli: markers 'python_full_version < "3.11"' don't match your environment
Collecting torch==2.13.0
  Downloading torch-2.13.0.whl (191.8 MB)
Collecting six==1.17.0
  Downloading six-1.17.0-py2.py3-none-any.whl.metadata (500 kB)
  Using cached six-1.17.0-py2.py3-none-any.whl (11 kB)
"""


def test_progress_in_words():
    assert bootstrap.how_far("", 0, 0) == ""
    assert bootstrap.how_far(SAID, 10, 0) == "2 of 9 downloaded, 192 MB, "
    assert bootstrap.how_far(SAID, 0, 0) == "2 of 2 downloaded, 192 MB, "
    installing = SAID + "Installing collected packages: six, torch\n"
    assert bootstrap.how_far(installing, 10, 1) == "installed 1 of 2, "
    assert bootstrap.megabytes(SAID) == pytest.approx(192.3)


@pytest.mark.parametrize(
    ("said", "todo"),
    [
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "mirror"),
        ("ERROR: No matching distribution found for six", "pip config set"),
        ("Error: Command '... -m ensurepip' returned 1", "python3-venv"),
    ],
)
def test_failures_say_what_to_do(said, todo):
    assert todo in bootstrap.advice(said)


def test_sweep_removes_what_a_killed_pip_leaves(tmp_path):
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info", "~orch", "torch"):
        (packages / name).mkdir(parents=True)
    (packages / "whole-1.dist-info" / "RECORD").touch()
    bootstrap.sweep(tmp_path)
    assert sorted(path.name for path in packages.iterdir()) == ["torch", "whole-1.dist-info"]


def test_the_hook_is_one_line_that_python_runs():
    assert bootstrap.HOOK.count("\n") == 1 and bootstrap.HOOK.startswith("import sys; ")
    hidden = {"labutils": None}  # what an import of it raises in a clone that is gone
    code = f"import sys; sys.modules.update({hidden}); {bootstrap.HOOK}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    assert json.dumps(bootstrap.HOOK).count("labutils.cpu.activate") == 1


# A real set-up of two tiny packages: a wheel, and one that takes as long to build as the test wants

DRIVER = """
import importlib.util, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the test runner ignores
spec = importlib.util.spec_from_file_location("bootstrap", "labutils/bootstrap.py")
bootstrap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bootstrap)
Step = bootstrap.Step

def plan(root, profile, dev):
    def locked(name):
        path = "requirements/%s.txt" % name
        pip = ("--no-deps", "--no-index", "--find-links", "dist", "--require-hashes", "-r", path)
        return Step(name, "package " + name, 1, (root / path).read_bytes(), pip)
    return [Step("venv", "environment", 1, b""), locked("quick"), locked("slow"),
            Step("hook", "hook", 1, bootstrap.HOOK.encode())]

bootstrap.plan = plan
bootstrap.main([])
"""

BACKEND = """
import os, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open(os.environ["BUILDING"], "w") as file:
        file.write(str(os.getpid()))
    while os.path.exists(os.environ["HOLD"]):
        time.sleep(0.02)
    name = "slow-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text)
    return name
"""


def wheel_files(name: str) -> dict[str, str]:
    info = f"{name}-1.dist-info"
    files = {
        f"{name}.py": "whole = True\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return {
        **files,
        f"{info}/RECORD": "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]),
    }


class Clone:
    """A clone of a course that has two packages, in a folder whose name has a space."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        for name in ("labutils", "requirements", "dist"):
            (folder / name).mkdir(parents=True)
        shutil.copy(SOURCE, folder / "labutils")
        (folder / "driver.py").write_text(DRIVER)
        with zipfile.ZipFile(folder / "dist" / "quick-1-py3-none-any.whl", "w") as wheel:
            for path, text in wheel_files("quick").items():
                wheel.writestr(path, text)
        with tarfile.open(folder / "dist" / "slow-1.tar.gz", "w:gz") as source:
            build = '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
            for path, text in {
                "pyproject.toml": build,
                "b.py": f"FILES = {wheel_files('slow')!r}\n{BACKEND}",
                "PKG-INFO": "Metadata-Version: 2.1\nName: slow\nVersion: 1\n",
            }.items():
                info = tarfile.TarInfo("slow-1/" + path)
                info.size = len(text)
                source.addfile(info, io.BytesIO(text.encode()))
        for file in (folder / "dist").iterdir():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            self.lock(file.name.split("-")[0], digest)

    @property
    def hold(self) -> Path:
        """While this file is there, the slow package is not ready."""
        return self.root / "hold"

    @property
    def building(self) -> Path:
        """Written by the process that builds the slow package: its number."""
        return self.root / "building"

    def lock(self, name: str, digest: str) -> None:
        path = self.root / "requirements" / f"{name}.txt"
        path.write_text(f"{name}==1 --hash=sha256:{digest}\n")

    def start(self) -> subprocess.Popen:
        env = dict(os.environ, LAB_PROFILE="cpu", HOLD=str(self.hold), BUILDING=str(self.building))
        return subprocess.Popen(
            [sys.executable, "-I", "driver.py"],
            cwd=self.root,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def set_up(self) -> str:
        """A whole set-up; what it said."""
        process = self.start()
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    def start_and_hold(self) -> tuple[subprocess.Popen, int]:
        """A set-up that is in the middle of its third step, and the process at work there."""
        self.hold.touch()
        process = self.start()
        assert wait_for(lambda: self.building.exists() and self.building.read_text())
        return process, int(self.building.read_text())

    def states(self) -> dict[str, str]:
        stamp = json.loads((self.root / ".venv" / bootstrap.STAMP).read_text())
        return {name: state for name, (state, _) in stamp["steps"].items()}

    @property
    def packages(self) -> Path:
        return next((self.root / ".venv" / "lib").glob("python*")) / "site-packages"

    def half_install(self, record: bool) -> None:
        """What pip leaves of the slow package when it is killed late."""
        for path, text in wheel_files("slow").items():
            if record or not path.endswith("RECORD"):
                (self.packages / path).parent.mkdir(exist_ok=True)
                (self.packages / path).write_text(text.replace("whole", "half"))

    def works(self) -> bool:
        code = "import quick, slow; assert quick.whole and slow.whole"
        return subprocess.call([self.root / ".venv" / "bin" / "python", "-c", code]) == 0


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "my clone")


DONE = dict.fromkeys(["venv", "quick", "slow", "hook"], "done")


@pytest.mark.slow
def test_interrupted_it_leaves_no_process_and_goes_on_where_it_stopped(clone):
    process, builder = clone.start_and_hold()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.endswith("Interrupted: run the same command again, it goes on where it stopped.\n")
    assert not lives(builder)
    assert clone.states() == {"venv": "done", "quick": "done", "slow": "started"}
    assert sorted(path.name for path in (clone.root / "build").iterdir()) == [
        ".setup.lock",
        "setup.log",
    ]

    clone.half_install(record=True)
    clone.hold.unlink()
    said = clone.set_up()
    assert "[3/4] package slow" in said and "[2/4]" not in said
    assert clone.states() == DONE and clone.works()
    assert (clone.packages / "labutils_cpu.pth").read_text() == bootstrap.HOOK

    started = time.monotonic()
    assert clone.set_up() == ".venv is complete. CPU profile: LAB_PROFILE asks for it.\n"
    assert time.monotonic() - started < 1

    clone.root = clone.root.rename(clone.root.with_name("moved"))
    assert "Making .venv anew: its folder was " in clone.set_up()
    assert clone.states() == DONE and clone.works()


@pytest.mark.slow
def test_killed_it_goes_on_where_it_stopped_and_a_second_set_up_waits(clone):
    process, builder = clone.start_and_hold()
    process.kill()
    process.communicate()
    clone.half_install(record=False)
    clone.hold.unlink()
    assert wait_for(lambda: not lives(builder))
    clone.building.unlink()

    first, _ = clone.start_and_hold()
    second = clone.start()
    assert second.stdout.readline().startswith("Another set-up is at work in this folder")
    clone.hold.unlink()
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert clone.states() == DONE and clone.works()


@pytest.mark.slow
def test_a_failed_step_shows_the_last_lines_and_one_sentence(clone):
    clone.lock("quick", "0" * 64)
    process = clone.start()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in said
    assert "DO NOT MATCH THE HASHES" in said and said.count("\n") < 20
    assert said.splitlines()[-1] == bootstrap.advice("DO NOT MATCH THE HASHES")
    assert clone.states() == {"venv": "done", "quick": "started"}
