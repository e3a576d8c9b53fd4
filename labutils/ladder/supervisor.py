"""One process of the ladder: started, watched for time and memory, and ended with all it started.

Its leader is a keeper (`worker`), which ends the whole group when the ladder dies, however that
dies. Memory is the resident memory of the process and of everything below it, looked at twice
a second: what grows faster than that, the kernel stops.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from labutils import processes
from labutils.ladder.records import named
from labutils.ladder.results import Status
from labutils.ladder.task import Failure, Progress, heard
from labutils.programs import lines_of, telling

LOOK_EVERY = 0.5
TAIL = 6
"""Lines of a log that are quoted."""
_NO_MEMORY = re.compile(r"out of memory|OutOfMemory|MemoryError|can't allocate memory", re.I)


@dataclass(frozen=True)
class Limits:
    """What a process may use."""

    seconds: float
    bytes: int
    """Resident."""


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    status: Status
    message: str
    """If not ok: its last words, the telling line last, with files by name alone."""
    seconds: float


def run(
    command: Sequence[str], log: Path, limits: Limits, hear: Callable[[Progress], None]
) -> Ended:
    """Run a command to its end, which the limits or an interrupt may be.

    Args:
        command: the number of the descriptor that it writes its progress to is added as its last.
        log: for everything that it prints.
        limits: of time and memory; beyond them it is ended.
        hear: called with every progress that it writes.
    """
    processes.RUNNING.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    ours, theirs = os.pipe()
    with log.open("w", encoding="utf-8") as output, open(ours, "rb", buffering=0) as said:
        process = processes.start([*command, str(theirs)], output, pass_fds=(theirs,))
        os.close(theirs)
        processes.note(process.pid)
        try:
            verdict = _watch(process, said.fileno(), limits, start, hear)
        finally:
            kill_tree(process)
            processes.forget(process.pid)
    status, message = _judged(verdict, process.returncode, log)
    return Ended(status, named(message), time.monotonic() - start)


def _watch(
    process: subprocess.Popen,
    pipe: int,
    limits: Limits,
    start: float,
    hear: Callable[[Progress], None],
) -> Failure | None:
    """Wait for its end; what it said of its failure, or what limit it broke."""
    failure = None
    lines = _lines(pipe)
    while True:
        for line in next(lines):
            said = heard(line)
            if isinstance(said, Failure):
                failure = said
            else:
                hear(said)
        if process.poll() is not None:
            return failure
        if time.monotonic() - start > limits.seconds:
            return Failure("timeout", f"stopped after {limits.seconds:.0f} s")
        used = resident(process.pid)
        if used > limits.bytes:
            words = f"stopped at {used / 2**30:.1f} GiB, {limits.bytes / 2**30:.1f} GiB are allowed"
            return Failure("out of memory", words)


def _lines(pipe: int) -> Iterator[list[str]]:
    """Whole lines that have come, within LOOK_EVERY seconds."""
    rest, is_open = b"", True
    while True:
        if not is_open:
            time.sleep(LOOK_EVERY)
        elif select.select([pipe], [], [], LOOK_EVERY)[0]:
            piece = os.read(pipe, 2**16)
            is_open = bool(piece)
            rest += piece
        *whole, rest = rest.split(b"\n")
        yield [line.decode() for line in whole]


def tree(leader: int) -> list[psutil.Process]:
    """The processes of a group and all below its leader, those that left the group, too."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(leader)
        found = {each.pid: each for each in [process, *process.children(recursive=True)]}
    for pid in processes.group(leader):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.setdefault(pid, psutil.Process(pid))
    return list(found.values())


def resident(leader: int) -> int:
    """Bytes of resident memory of a process and all below it."""
    total = 0
    for process in tree(leader):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def kill_tree(process: subprocess.Popen) -> None:
    """End a process and everything that it started, at once, and wait until all of it is gone."""
    living = tree(process.pid)
    for each in living:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait()
    psutil.wait_procs(living, timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what was started in the meantime


def _judged(failure: Failure | None, code: int, log: Path) -> tuple[Status, str]:
    """Status and message of a process that has ended."""
    if failure and failure.status in ("timeout", "out of memory"):
        return failure.status, last_words(log, failure.message)
    if failure:
        return failure.status, failure.message
    if code == 0:
        return "ok", ""
    words = last_words(log, _ending(code))
    return ("out of memory" if _NO_MEMORY.search(words) else "crashed"), words


def _ending(code: int) -> str:
    """An exit code in words; a keeper passes a signal on as 128 + its number."""
    number = -code if code < 0 else code - 128
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(number).name}"
    return f"ended with exit code {code}"


def last_words(log: Path, ending: str) -> str:
    """The last lines of a log; in the very last the line that tells most, and how it ended."""
    lines = lines_of(log.read_text(encoding="utf-8", errors="replace"))
    if not lines:
        return ending
    return "\n".join([*lines[-TAIL:], f"{telling(lines).rstrip('.')} ({ending})"])
