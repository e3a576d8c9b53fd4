"""A process for one submission, which sees little and reaches nothing.

bubblewrap gives it namespaces of its own: no network, no process of anyone else's, and a file
system with the operating system, this environment, `labutils` (without `grading`) and the models,
all read-only; the notebooks, their tests and other submissions are not in it. What can be written
are two small folders in memory. Before a student's code begins, `confine` bounds memory, files and
processor time and has new processes refused; `session` keeps the time.

What this does not stop: an error in the kernel, reading what the folders of models and packages
hold, and keeping all processors busy for as long as the time limit allows.
"""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from labutils import paths, processes
from labutils.errors import LabError
from labutils.grading import inside
from labutils.models import models_dir

MIB = 2**20
WRITABLE = 64 * MIB
INSIDE = Path(inside.__file__)
HOME = "/home/student"
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache")


def require() -> None:
    """Make sure that submissions can be isolated.

    Raises:
        LabError: there is no bubblewrap, or this machine does not let it work.
    """
    if problem := why_not():
        raise LabError(
            f"Submissions run only isolated, and {problem}; or add --trusted to run them as your "
            "own programs."
        )


@cache
def why_not() -> str:
    """Why nothing can be isolated here and what to do, or ''."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed: run `sudo apt install bubblewrap`"
    probe = [*_bubblewrap(), "--", "/usr/bin/true"]
    tried = subprocess.run(probe, capture_output=True, text=True)
    if tried.returncode:
        words = tried.stderr.strip().partition("\n")[0]
        return f"bubblewrap does not work here ({words}): allow user namespaces on this machine"
    return ""


def start(channel: socket.socket, folder: Path, trusted: bool) -> subprocess.Popen:
    """Start the process that serves `channel`.

    Args:
        folder: its working directory, if it is trusted; otherwise it gets one in memory.
    """
    number = str(channel.fileno())
    if trusted:
        command = [sys.executable, str(INSIDE), number]
    else:
        command = [*_bubblewrap(), "--", sys.executable, "/lab/inside.py", number]
    environment = _environment(str(folder) if trusted else HOME)
    options = {"cwd": folder, "env": environment, "pass_fds": [channel.fileno()]}
    return processes.start(command, subprocess.DEVNULL, **options)


def _environment(home: str) -> dict[str, str]:
    """Nothing of the grader's environment, and one thread for each library."""
    quiet = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    places = {
        "HOME": home,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(paths.ROOT),
        "LAB_MODELS_DIR": str(models_dir().resolve()),
        "LANG": "C.UTF-8",
    }
    return places | threads | quiet


def _bubblewrap() -> list[str]:
    return [  # later mounts lie on top of earlier ones
        *("bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
        *(("--disable-userns",) if _knows("--disable-userns") else ()),
        *("--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
        *("--size", str(WRITABLE), "--tmpfs", HOME, "--size", str(WRITABLE), "--tmpfs", "/tmp"),
        *_read_only(),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),
        *("--remount-ro", "/", "--chdir", HOME),
    ]


@cache
def _knows(option: str) -> bool:
    said = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    return option in said.stdout + said.stderr


def _read_only() -> Iterator[str]:
    """Arguments that show what a lesson's code needs, and hide the grading within it."""
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.exists():
            yield from ("--ro-bind", str(path), str(path))
    package = paths.ROOT / "labutils"
    for path in _outermost([*_python(), package, paths.DATA, models_dir().resolve()]):
        if path.exists() and not path.is_relative_to("/usr"):
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--tmpfs", str(package / "grading"), "--remount-ro", str(package / "grading"))
    for path in (INSIDE, INSIDE.with_name("confine.py")):
        yield from ("--ro-bind", str(path), f"/lab/{path.name}")


def _python() -> Iterator[Path]:
    """Folders of this environment and of the Python that it is made of."""
    yield Path(sys.prefix)
    yield Path(sys.base_prefix)
    yield Path(sysconfig.get_path("stdlib"))
    executable = Path(sys.executable)
    while executable.is_symlink():
        yield executable.parent
        executable = executable.parent / os.readlink(executable)


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    unique = list(dict.fromkeys(folders))
    return [one for one in unique if not any(one != o and one.is_relative_to(o) for o in unique)]
