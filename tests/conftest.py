"""Lets Ctrl-C through to the tests' programs, and mends two traps of nbval.

Whoever starts the suite in the background of a shell starts it with Ctrl-C ignored, and programs
inherit that; tests that interrupt one would then wait for ever.

A kernel that dies would be waited for until the cell's time-out, so the wait looks once a second
whether it still lives. And cells run as a person runs them, with history, so that a trailing ';'
hides an output and execution counts go up.
"""

import signal
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

try:
    from nbval.kernel import RunningKernel
except ImportError:  # a student's environment has no nbval
    RunningKernel = None

LOOK_EVERY = 1.0  # seconds


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C through; install the two replacements where nbval runs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if RunningKernel is not None and config.getoption("--nbval", default=False):
        patient = RunningKernel.await_reply
        RunningKernel.await_reply = lambda kernel, *args, **kwargs: _await_reply(
            patient, kernel, *args, **kwargs
        )
        RunningKernel.execute_cell_input = _execute_cell_input


def _await_reply(patient: Any, kernel: Any, msg_id: str, timeout: float | None = None) -> None:
    """nbval's wait in short slices; RuntimeError as soon as the kernel is dead."""
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    while True:
        try:
            return patient(kernel, msg_id, timeout=LOOK_EVERY)
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError("The kernel died while it ran this cell.") from None
            if time.monotonic() > deadline:
                raise


def _execute_cell_input(kernel: Any, source: str, allow_stdin: bool | None = None) -> str:
    return kernel.kc.execute(source, store_history=True, allow_stdin=False, stop_on_error=False)


@pytest.fixture(scope="session")
def course_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the course's real site, with committed outputs alone."""
    from labutils.site import build_site

    folder = tmp_path_factory.mktemp("site")
    return build_site(folder / "course", executed=folder / "none").parent
