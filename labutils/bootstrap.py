"""Set the course up: make `.venv/` in this clone and install everything the lessons need.

    python3 -I labutils/bootstrap.py [--dev]

PyTorch comes first and alone (its CPU builds live on an index of their own), then the hashed lock
files of requirements/ for the profile of this machine, cpu or gpu, then the course itself. Each
finished step is recorded in `.venv/lab-setup.json` under a hash of what it depends on, so a second
run does only what has changed, and an interrupted one goes on where it stopped.

Left out: making the model usable (`lab model get`), checking the machine in depth (`lab doctor`),
conda (environment.yml). Standard library only, and nothing that Python 3.6 cannot parse: an old
Python must get a sentence, not a traceback.
"""

import argparse
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "%d.%d" % sys.version_info[:2]
STAMP = "lab-setup.json"
TORCH = "torch==2.13.0"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
CLASSIC = ".venv/classic"
CLASSIC_PYTHONS = ("3.10", "3.11")  # LMDeploy 0.2.4 has packages for these
PROBE = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='HEAD'))"
NO_VENV = "This Python cannot make virtual environments: run `sudo apt install python3-venv`."
# What a .pth line runs in every Python of the environment, LMDeploy's engine processes included:
# a gate that waits for `lmdeploy`. It imports none of the course before that, because a search
# through site-packages costs every Python start a few milliseconds; and a clone that cannot be
# imported must not break that Python.
GATE = """
class LabGate:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "lmdeploy":
            return None
        try:
            from labutils.cpu.activate import Gate
        except ImportError:
            return None
        return Gate.find_spec(name, path)
sys.meta_path.insert(0, LabGate)
"""
HOOK = "import sys; exec(%r)\n" % GATE


class Step(NamedTuple):
    """One part of the set-up; `megabytes` is roughly what it takes on disk once installed."""

    name: str
    what: str
    megabytes: int
    depends: bytes  # a change here makes the step due again
    pip: Tuple[str, ...] = ()  # arguments of `pip install`


def stop(code: int, sentence: str) -> None:
    """End with one sentence: 2 = this machine or setting will not do, 1 = a step went wrong."""
    print(sentence, file=sys.stderr)
    raise SystemExit(code)


# Which machine this is


def working_python() -> Optional[str]:
    """The name of a supported Python on PATH; first those that LMDeploy 0.2.4 runs on, too."""
    for name in ("python3.11", "python3.10", "python3.12", "python3.13"):
        # Version managers put names on PATH that only print an error, so it has to answer.
        command = [name, "-I", "-c", "import ensurepip, venv"]
        if shutil.which(name):
            if subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                return name
    return None


def check_python(version: Tuple[int, int], implementation: str, target: str) -> None:
    if implementation == "cpython" and (3, 10) <= version <= (3, 13):
        return
    found = working_python()
    todo = "run `make %s PYTHON=%s`" % (target, found or "python3.11")
    if not found:
        todo = "install one (conda has it too) and " + todo
    name = {"cpython": "Python", "pypy": "PyPy"}.get(implementation, implementation)
    this = "%s %d.%d" % (name, version[0], version[1])
    stop(2, "The course needs CPython 3.10 to 3.13, and this is %s: %s." % (this, todo))


def check_platform(system: str, machine: str) -> None:
    if (system, machine) != ("Linux", "x86_64"):
        where = "%s on %s" % (system, machine)
        stop(2, "The course does not run on %s: use Linux on x86-64, or WSL2 on Windows." % where)


def check_room(root: Path, steps: List[Step]) -> None:
    """Beside what stays, pip keeps its downloads and unpacks copies: more than half as much."""
    if not os.access(str(root), os.W_OK):
        stop(2, "%s cannot be written to: clone the course into a folder of yours." % root)
    needed = 1.6 * sum(step.megabytes for step in steps) / 1000
    free = shutil.disk_usage(str(root)).free / 1e9
    if free < needed:
        numbers = (needed, root, free)
        stop(2, "The set-up needs %.1f GB of disk and %s has %.1f GB free: make room." % numbers)


def cuda_devices() -> Tuple[int, str]:
    """How many GPUs the NVIDIA driver offers, and that in words."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, "no NVIDIA driver (libcuda.so.1) on this machine"
    error, count = driver.cuInit(0), ctypes.c_int()
    if error or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0, "the NVIDIA driver offers no GPU (cuInit returns %d)" % error
    return count.value, "the NVIDIA driver offers %d GPU(s)" % count.value


def choose_profile(environ: Mapping[str, str]) -> Tuple[str, str]:
    """'cpu' or 'gpu', and why."""
    asked = environ.get("LAB_PROFILE", "")
    if asked not in ("", "cpu", "gpu"):
        stop(2, "LAB_PROFILE is %r: set it to cpu or gpu, or unset it." % asked)
    if asked:
        return asked, "LAB_PROFILE asks for it"
    count, reason = cuda_devices()
    return ("gpu" if count else "cpu"), reason


# What there is to do


def plan(root: Path, profile: str, dev: bool) -> List[Step]:
    """The steps of this profile, in order."""

    def locked(name: str, what: str, megabytes: int, also: str = "") -> Step:
        path = "requirements/%s.txt" % name
        depends = (root / path).read_bytes() + also.encode()
        return Step(name, what, megabytes, depends, ("--no-deps", "--require-hashes", "-r", path))

    steps = [Step("venv", "virtual environment", 20, b"")]
    if profile == "cpu":
        # torch brings dependencies without hashes; the lock after it puts right those it pins.
        steps.append(Step("torch", "PyTorch for CPUs", 860, TORCH.encode(), (TORCH,)))
        steps.append(locked("cpu", "Jupyter, SciPy and more", 1140, TORCH))
        steps.append(locked("lmdeploy", "LMDeploy", 390))
    else:
        steps.append(locked("gpu", "LMDeploy, PyTorch, CUDA libraries, Jupyter", 8500))
    steps.append(locked("model", "SmolLM2-135M-Instruct", 100))
    if PYTHON in CLASSIC_PYTHONS:
        old = locked("classic", "LMDeploy 0.2.4, apart from the rest", 190)
        steps.append(old._replace(pip=("--target", CLASSIC) + old.pip))
    if dev:
        steps.append(locked("dev", "test tools", 80))
    project = ("--no-deps", "--no-build-isolation", "-e", ".")
    steps.append(Step("project", "the course", 1, (root / "pyproject.toml").read_bytes(), project))
    return steps + [Step("hook", "the CPU device's import hook", 1, HOOK.encode())]


def key(step: Step) -> str:
    return hashlib.sha256(repr(step.pip).encode() + step.depends).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """All of the new text or all of the old, whatever happens meanwhile."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(new), str(path))


def read_stamp(root: Path) -> Dict:
    try:
        stamp = json.loads((root / ".venv" / STAMP).read_text())
        if not (root / CLASSIC).exists():  # it may be deleted to save room, and made again
            stamp["steps"].pop("classic", None)
        return stamp if isinstance(stamp["steps"], dict) else {"steps": {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"steps": {}}


def mark(root: Path, stamp: Dict, step: Step, state: str) -> None:
    stamp["steps"][step.name] = [state, key(step)]
    write_atomically(root / ".venv" / STAMP, json.dumps(stamp, indent=1) + "\n")


def due(stamp: Dict, steps: List[Step]) -> List[Step]:
    return [step for step in steps if stamp["steps"].get(step.name) != ["done", key(step)]]


def usable_stamp(root: Path, identity: Dict[str, str]) -> Tuple[Dict, str]:
    """What is done, nothing if the environment cannot be kept; and why it cannot."""
    stamp = read_stamp(root)
    problem = unusable(root, stamp, identity)
    return (dict(identity, steps={}) if problem else stamp), problem


def unusable(root: Path, stamp: Dict, identity: Dict[str, str]) -> str:
    """Why the environment that is there cannot be kept; '' when it can."""
    if stamp["steps"].get("venv", [""])[0] != "done":
        return "this set-up did not finish making it"
    for name, now in identity.items():
        if stamp.get(name) != now:
            hint = " (LAB_PROFILE=%s keeps it)" % stamp.get(name) if name == "profile" else ""
            return "its %s was %s and is now %s%s" % (name, stamp.get(name), now, hint)
    return "" if (root / ".venv" / "bin" / "python").exists() else "its Python is gone"


# Doing it


class Line:
    """The line of one step: rewritten on a terminal, else printed every 15 s and at the end."""

    def __init__(self, label: str) -> None:
        self.label, self.live = label, sys.stdout.isatty()
        self.started = self.shown = time.monotonic()
        self.show("")

    def show(self, detail: str, last: bool = False) -> None:
        now = time.monotonic()
        text = "%s ... %s%d s" % (self.label, detail, now - self.started)
        if self.live:  # cut, because a line that wraps cannot be rewritten
            text = "\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1]
        if self.live or last or now - self.shown >= 15:
            print(text, end="" if self.live and not last else "\n", flush=True)
            self.shown = now


def megabytes(said: str) -> float:
    """What pip downloaded, by its own account."""
    unit = {"": 1e-6, "k": 1e-3, "M": 1.0, "G": 1e3}
    sizes = re.findall(r"^ +Downloading .*\(([\d.]+) ([kMG]?)(?:B|bytes)\)", said, re.M)
    return sum(float(number) * unit[prefix] for number, prefix in sizes)


def how_far(said: str, pins: int, installed: int) -> str:
    """pip's progress in words: pins in the file, packages installed since pip started."""
    names = re.search(r"^Installing collected packages: (.*)", said, re.M)
    if names:
        total = names.group(1).count(",") + 1
        return "installed %d of %d, " % (max(0, min(installed, total)), total)
    collected = len(re.findall(r"^Collecting ", said, re.M))
    pins -= len(re.findall(r"^Ignoring ", said, re.M))  # pinned for another Python
    total = max(pins, collected)
    return "%d of %d downloaded, %d MB, " % (collected, total, megabytes(said)) if total else ""


def end(child: "subprocess.Popen[bytes]") -> None:
    """Ask the child's processes to stop (pip then removes its temporary files), then make sure."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def start(root: Path, command: List[str], temporary: Path) -> "subprocess.Popen[bytes]":
    """The child in a session of its own: Ctrl-C reaches us alone, and `end` all its processes."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    env = {name: value for name, value in os.environ.items() if name not in misleading}
    env.update(PYTHONNOUSERSITE="1", TMPDIR=str(temporary))
    prctl = ctypes.CDLL(None).prctl
    with (root / "build" / "setup.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=str(root),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=False,  # it holds the lock, too
            preexec_fn=lambda: prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG: it dies with us
        )


def run(root: Path, command: List[str], line: Line, pins: int = 0) -> str:
    """Run one child to its end and return what it said; leave no process behind."""
    temporary = root / "build" / "tmp"  # on the disk that was measured
    shutil.rmtree(str(temporary), ignore_errors=True)
    temporary.mkdir()
    before = len(list(root.glob(".venv/lib/*/site-packages/*.dist-info")))
    with (root / "build" / "setup.log").open(errors="replace") as log:
        log.seek(0, os.SEEK_END)
        said, child = "", start(root, command, temporary)
        try:
            while child.poll() is None:
                time.sleep(0.2)
                said += log.read()
                after = len(list(root.glob(".venv/lib/*/site-packages/*.dist-info")))
                line.show(how_far(said, pins, after - before))
        finally:
            end(child)
            shutil.rmtree(str(temporary), ignore_errors=True)
        said += log.read()
    if child.returncode:
        print("\n" + "\n".join(said.splitlines()[-15:]), flush=True)
        stop(1, advice(said))
    return said


def advice(said: str) -> str:
    """What to do about a child that said this and failed."""
    if "No space left" in said or "quota exceeded" in said:
        return "The disk is full: make room, then run the same command again."
    if "ensurepip" in said:
        return NO_VENV
    if "DO NOT MATCH THE HASHES" in said:
        return "A download is not the file that was locked: try again, or try another mirror."
    return (
        "This step failed, see above and build/setup.log: if it is the network, name a mirror "
        "(`pip config set global.index-url https://mirrors.tuna.tsinghua.edu.cn/pypi/web/simple`)"
        " and run the same command again; it goes on where it stopped."
    )


def make_venv(root: Path, line: Line) -> str:
    # Called from inside a virtual environment, perhaps the very one that is to go?
    inside = sys.prefix != sys.base_prefix
    python = os.path.realpath(sys.executable) if inside else sys.executable
    for path in (root / ".venv").iterdir():  # its content: it may be a link to a larger disk
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path), ignore_errors=True)  # a killed venv's child may still write
        elif path.name != STAMP:
            path.unlink()
    return run(root, [python, "-I", "-m", "venv", str(root / ".venv")], line)


def torch_index(root: Path, environ: Mapping[str, str]) -> str:
    """The index that torch comes from: the one named, PyTorch's if it answers, or '', pip's own."""
    if environ.get("LAB_TORCH_INDEX"):
        return environ["LAB_TORCH_INDEX"]
    probe = [str(root / ".venv/bin/python"), "-I", "-c", PROBE, TORCH_INDEX + "/torch/"]
    try:
        answers = subprocess.call(probe, stderr=subprocess.DEVNULL, timeout=3) == 0
    except subprocess.TimeoutExpired:
        answers = False
    return TORCH_INDEX if answers else ""


def sweep(root: Path) -> None:
    """Remove what a killed pip leaves and the next one stumbles over."""
    found = list(root.glob(".venv/lib/*/site-packages/*.dist-info"))
    halves = [path for path in found if not (path / "RECORD").exists()]
    for path in halves + list(root.glob(".venv/lib/*/site-packages/~*")):  # "~": set aside by pip
        if path.is_dir():
            shutil.rmtree(str(path))
        else:
            path.unlink()


def pip_install(root: Path, step: Step, again: bool, line: Line) -> str:
    """One pip step; by force if an earlier attempt at it may have left half-unpacked packages."""
    python = str(root / ".venv" / "bin" / "python")
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off"] + list(step.pip)
    if step.name == "torch":
        index = torch_index(root, os.environ)
        command += ["--index-url", index] if index else []
        if not index:
            text = "%s does not answer; pip's own index may send the larger CUDA build."
            print("\n" * line.live + text % TORCH_INDEX)
    if again:
        sweep(root)
        command.append("--force-reinstall")
    pins = re.findall(rb"^\w.*==", step.depends, re.M) if "-r" in step.pip else ()
    return run(root, command, line, len(pins))


def install_classic(root: Path, step: Step, line: Line, profile: str) -> str:
    """LMDeploy 0.2.4 in a folder of its own, from nothing."""
    shutil.rmtree(str(root / CLASSIC), ignore_errors=True)
    said = pip_install(root, step, False, line)
    if profile == "cpu":  # 287 MB that load only where CUDA 11 is
        shutil.rmtree(str(root / CLASSIC / "lmdeploy" / "lib"), ignore_errors=True)
    return said


def perform(root: Path, stamp: Dict, step: Step, line: Line) -> float:
    """One step, recorded before and after; returns the megabytes downloaded."""
    again, said = stamp["steps"].get(step.name, [""])[0] == "started", ""
    mark(root, stamp, step, "started")
    if step.name == "venv":
        said = make_venv(root, line)
    elif step.name == "classic":
        said = install_classic(root, step, line, stamp.get("profile", ""))
    elif step.pip:
        said = pip_install(root, step, again, line)
    else:
        packages = root / ".venv" / "lib" / ("python" + PYTHON) / "site-packages"
        write_atomically(packages / "labutils_cpu.pth", HOOK)
    mark(root, stamp, step, "done")
    line.show("", last=True)
    return megabytes(said)


def set_up(root: Path, stamp: Dict, steps: List[Step]) -> None:
    """Do the steps that are due, then say what it took."""
    started, loaded = time.monotonic(), 0.0
    (root / ".venv").mkdir(exist_ok=True)
    (root / "build" / "setup.log").write_text("")
    todo = due(stamp, steps)
    print(
        "%d steps, %.1f GB of disk, a few minutes. Ctrl-C stops; the same command goes on."
        % (len(todo), sum(step.megabytes for step in todo) / 1000)
    )
    for step in todo:
        place = (steps.index(step) + 1, len(steps), step.what, step.megabytes)
        loaded += perform(root, stamp, step, Line("[%d/%d] %s, %d MB of disk" % place))
    tree = os.walk(str(root / ".venv"))
    files = (os.path.join(folder, name) for folder, _, names in tree for name in names)
    disk = sum(os.lstat(file).st_blocks for file in files) * 512 / 1e9
    minutes = (time.monotonic() - started) / 60
    print("Set up in %.1f min; %d MB downloaded, .venv is %.2f GB." % (minutes, loaded, disk))


def take_lock(root: Path) -> int:
    """Become the only set-up in this clone, waiting for an earlier one and what it left running."""
    import fcntl  # Windows has none, and gets its sentence before

    (root / "build").mkdir(exist_ok=True)
    lock = os.open(str(root / "build" / ".setup.lock"), os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another set-up is at work in this folder: waiting for it to end.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def catch_signals() -> None:
    """Ctrl-C, SIGTERM and a closed terminal end the child first, then us, with one sentence."""
    numbers = [getattr(signal, name, signal.SIGINT) for name in ("SIGINT", "SIGTERM", "SIGHUP")]

    def interrupt(number: int, _frame: object) -> None:
        for each in numbers:  # a second Ctrl-C must not stop the tidying up
            signal.signal(each, signal.SIG_IGN)
        again = "Interrupted: run the same command again, it goes on where it stopped."
        stop(128 + number, "\n" + again)

    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish
            signal.signal(number, interrupt)


def main(arguments: List[str]) -> None:
    """Check, decide, and do what is due; nothing is written before every check has passed."""
    parser = argparse.ArgumentParser(description="Set the course up in .venv/.")
    parser.add_argument("--dev", action="store_true", help="with the tools for the tests")
    dev = parser.parse_args(arguments).dev
    catch_signals()
    check_python(sys.version_info[:2], sys.implementation.name, "test" if dev else "run")
    check_platform(platform.system(), platform.machine())
    sys.stdout.reconfigure(errors="replace")  # pip's words may not exist in the terminal's encoding
    profile, reason = choose_profile(os.environ)
    why = "%s profile: %s." % (profile.upper(), reason)
    identity = {"Python": PYTHON, "profile": profile, "folder": str(ROOT)}
    steps = plan(ROOT, profile, dev)
    stamp, _ = usable_stamp(ROOT, identity)
    if not due(stamp, steps):
        print(".venv is complete. " + why)
        return
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        stop(2, NO_VENV)
    check_room(ROOT, due(stamp, steps))
    _lock = take_lock(ROOT)
    print(why)
    if PYTHON not in CLASSIC_PYTHONS:
        print(
            "LMDeploy 0.2.4 has no package for Python %s: lesson 02 will show recorded outputs "
            "(PYTHON=python3.11 for make runs it)." % PYTHON
        )
    stamp, problem = usable_stamp(ROOT, identity)  # again: another set-up may have ended meanwhile
    if problem and (ROOT / ".venv").exists():
        print("Making .venv anew: %s." % problem)
    set_up(ROOT, stamp, steps)


if __name__ == "__main__":
    main(sys.argv[1:])
