"""The processes that we start: each ends with its owner, however that ends.

A process is started in a session of its own, told by the kernel when its owner dies, and noted in
`build/servers`. What stays behind all the same is found by its note and ended by whoever starts the
next one: our own orphans, never anyone else's.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from labutils.bootstrap import write_atomically
from labutils.paths import BUILD

RUNNING = BUILD / "servers"
"""A note for each running server, and its log."""
END_SECONDS = 20.0
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """In the child: be terminated when the process that started it dies, however it dies."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by inheritance
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: Sequence[str], output: Any, **options: Any) -> subprocess.Popen:
    """Start a process that leads a session of its own and ends with this one.

    Args:
        output: a file, or subprocess.DEVNULL, for all that it prints.
        options: further ones of subprocess.Popen.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=end_with_parent,
        **options,
    )


def note(leader: int) -> None:
    """Write down that this process owns the process group of `leader`."""
    said = {"server": _identity(leader), "owner": _identity(os.getpid())}
    write_atomically(_note(leader), json.dumps(said))


def forget(leader: int) -> None:
    """Remove the note of a process group that has ended."""
    _note(leader).unlink(missing_ok=True)


def end_group(leader: int, ended: Callable[[], object]) -> None:
    """Ask a process group to end, then make sure, and wait until all of it is gone.

    Args:
        leader: the process that leads the group.
        ended: collects the leader's exit status, as Popen.poll does.
    """
    for number, seconds in ((signal.SIGINT, END_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended()
            if not group(leader):
                return
            time.sleep(0.1)


def group(leader: int) -> list[int]:
    """The living processes of a group; a zombie lives no more."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.info["status"] != "zombie" and os.getpgid(process.pid) == leader:
                found.append(process.pid)
    return found


def end_orphans() -> int:
    """End servers whose owner died without ending them; how many there were.

    A note names the server and its owner by process id and start time, so that a process which
    merely has the same number today is left alone.
    """
    count = 0
    for path in RUNNING.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            said = json.loads(path.read_text(encoding="utf-8"))
            if _lives(said["owner"]):
                continue
            leader = said["server"][0]
            # The leader may be gone while the rest of its group, LMDeploy's engine, goes on.
            if not _is_someone_else(said["server"]) and group(leader):
                end_group(leader, lambda: None)
                count += 1
            path.unlink(missing_ok=True)
    return count


def _is_someone_else(identity: list[float]) -> bool:
    """Whether the process number belongs to another process now."""
    try:
        return psutil.Process(int(identity[0])).create_time() != identity[1]
    except psutil.NoSuchProcess:
        return False


def _identity(pid: int) -> list[float]:
    """A process by its number and its start time."""
    return [pid, psutil.Process(pid).create_time()]


def _lives(identity: list[float]) -> bool:
    try:
        process = psutil.Process(int(identity[0]))
        return process.create_time() == identity[1] and process.status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def _note(leader: int) -> Path:
    return RUNNING / f"{leader}.json"
