"""One student's code at work, seen from the grader: run cells, fetch values, call functions.

The code runs in a process of its own (`sandbox`). Here is what keeps time, and what to do when that
process is gone: it is started again for the next exercise, until the time is spent.
"""

import os
import pickle
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labutils.grading import plain, sandbox

SECONDS = 8.0
"""For all of a submission's own code in one lesson."""
CALL_SECONDS = 4.0
SET_UP_SECONDS = 60.0
"""For starting Python and the lesson's imports, on a busy machine; no student's code runs then."""
REPLY = 4 * 2**20


class Ended(Exception):
    """The process is gone or had to be ended; says why."""


@dataclass
class Session:
    """A submission's process, started when it is first needed.

    Attributes:
        setup: statements of the lesson that the cells need.
        given: recorded values that they need, by name.
        cells: (name, source) of the student's cells.
        folder: the grader's working directory, whose files the student's functions find, too.
    """

    setup: list[str]
    given: dict[str, Any]
    cells: list[tuple[str, str]]
    folder: Path
    trusted: bool = False
    spent: float = 0.0
    wrong: dict[str, str] = field(default_factory=dict)
    """What went wrong in a cell, by its name."""
    _own: tempfile.TemporaryDirectory = field(default_factory=tempfile.TemporaryDirectory)
    _process: Any = None
    _channel: socket.socket | None = None

    def value(self, name: str) -> Any:
        """What the student's code calls `name`: a plain value, or a function that calls theirs."""
        self._start()
        is_function, value = self._ask("get", name)
        return self._function(name) if is_function else value

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._start()
            return self._ask("call", name, args, kwargs, _files(self.folder))

        call.__name__ = name
        return call

    def close(self) -> None:
        """End the process and all that it started, and remove its folder."""
        self._end()
        self._own.cleanup()

    def _end(self) -> None:
        if self._channel:
            self._channel.close()
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._channel = None

    def _start(self) -> None:
        if self._process:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = sandbox.start(theirs, Path(self._own.name), self.trusted)
        self._channel = ours
        self._exchange(("set_up", self.setup, self.given), SET_UP_SECONDS)
        self.wrong = self._ask("cells", self.cells)

    def _ask(self, *request: Any) -> Any:
        """An exchange in which the student's code runs."""
        seconds = SECONDS - self.spent
        if request[0] != "cells":
            seconds = min(seconds, CALL_SECONDS)
        began = time.monotonic()
        try:
            return self._exchange(request, seconds)
        finally:
            self.spent += time.monotonic() - began

    def _exchange(self, request: tuple, seconds: float) -> Any:
        message = pickle.dumps(request)
        deadline = time.monotonic() + seconds
        try:
            self._channel.settimeout(max(0.01, seconds))
            self._channel.sendall(len(message).to_bytes(4, "big") + message)
            length = int.from_bytes(self._receive(4, deadline), "big")
            if length > REPLY:
                raise Ended(f"its answer is larger than {REPLY // 2**20} MiB")
            reply = self._receive(length, deadline)
        except OSError:
            self._end()
            raise Ended("its code ended the process") from None
        except Ended:
            self._end()
            raise
        return plain.loads(reply)

    def _receive(self, count: int, deadline: float) -> bytes:
        parts = b""
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Ended("its code took too long")
            if not select.select([self._channel], [], [], left)[0]:
                continue
            part = self._channel.recv(count - len(parts))
            if not part:
                raise Ended("its code ended the process")
            parts += part
        return parts


def _files(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, parents first; see `inside.call`."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }
