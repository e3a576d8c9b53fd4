"""The process of one rung: `python -m labutils.ladder.worker TASK PIPE`.

It begins by parting in two, before anything is loaded. The child does the task. The parent, the
keeper, only waits, and then ends what the child left; told by the kernel that the ladder has died,
it ends all of it at once, whatever state that is in. Processes that lose their parent become the
keeper's own, so none escapes; if the keeper itself is killed, the kernel ends the child.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil

from labutils.processes import PR_SET_PDEATHSIG

PR_SET_CHILD_SUBREAPER = 36


def kept(work: Callable[[], int]) -> int:
    """Do the work in a child; its exit code, 128 + the number of a signal that ended it."""
    keeper = os.getpid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died in between
            return 1
        return work()
    signal.signal(signal.SIGTERM, _give_up)
    _, status = os.waitpid(child, 0)
    _end_all()
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end_all() -> None:
    """End every process below this one."""
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            each.kill()


def _give_up(number: int, frame: FrameType | None) -> None:
    _end_all()
    os._exit(1)


def main(task_file: str, descriptor: str) -> int:
    """Do the task in a file; failures go into the pipe, the engine's output to stderr."""
    from labutils.ladder import task as tasks

    sys.stdout = sys.stderr
    pipe = tasks.Pipe(int(descriptor))
    task = tasks.read(Path(task_file))
    if task.kind == "quantize":
        from labutils.ladder import weights

        return weights.work(task, pipe)
    from labutils.ladder import measure

    return measure.work(task, pipe)


if __name__ == "__main__":
    code = kept(lambda: main(*sys.argv[1:]))
    sys.stderr.flush()
    os._exit(code)  # an engine's threads must not keep a finished process
