"""What runs inside the sandbox: a student's cells, and calls of what they define.

The grader speaks over an inherited socket, in frames of a length (4 bytes) and a pickle; reading a
pickle runs code, so they travel in this direction alone. Answers are JSON of plain values (`plain`
reads them): whatever a student's code does to this process, nothing but numbers, text, containers
and arrays comes out of it, and no test ever comes in.

Run as a file of its own, with `confine` beside it, by a Python that may see little else: standard
library only.
"""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import sys
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

FOLDER = Path.cwd()
"""Where a student's functions find and leave files: emptied for every call, and no other is."""
CELL_SECONDS = 2
"""For the statements of one cell; calls are timed by the grader."""


def main(channel: socket.socket) -> None:
    """Serve the grader until it hangs up."""
    namespace: dict[str, Any] = {"__name__": "__main__", "display": print}
    serving = {"set_up": set_up, "cells": run_cells, "get": get, "call": call}
    me = os.getpid()
    while (request := receive(channel)) is not None:
        what, *arguments = request
        try:
            answer = {"value": encode(serving[what](namespace, *arguments))}
        except BaseException as error:
            answer = {"error": in_words(error)}
        if os.getpid() != me:
            os._exit(0)  # a copy that the student's code made of this process
        reply = json.dumps(answer).encode()
        channel.sendall(len(reply).to_bytes(4, "big") + reply)


def receive(channel: socket.socket) -> Any:
    """The next request, or None at the end."""
    with channel.makefile("rb", buffering=0) as stream:
        head = _read(stream, 4)
        return pickle.loads(_read(stream, int.from_bytes(head, "big"))) if head else None


def _read(stream: Any, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = stream.read(count - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def set_up(namespace: dict[str, Any], sources: list[str], given: dict[str, Any]) -> None:
    """Run the lesson's own statements, then let nothing more than a little be used.

    A statement that fails is passed over: it may be an import that nobody calls, and who does
    misses the name.
    """
    import confine  # lies beside this file, wherever that is

    namespace |= {name: as_object(value) for name, value in given.items()}
    for source in sources:
        with contextlib.suppress(Exception):
            exec(compile(source, "<lesson>", "exec"), namespace)
    confine.confine()


def as_object(value: Any) -> Any:
    """A recorded value; of a name recorded by its attributes, an object that has them."""
    return SimpleNamespace(**value["attributes"]) if _has_attributes(value) else value


def _has_attributes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"attributes"}


def run_cells(namespace: dict[str, Any], cells: list[tuple[str, str]]) -> dict[str, str]:
    """Run (name, source) one after the other; what went wrong, by name."""
    wrong = {}
    for name, source in cells:
        try:
            with _at_most(CELL_SECONDS):
                exec(compile(source, f"<{name}>", "exec"), namespace)
        except BaseException as error:
            wrong[name] = ": ".join(in_words(error))
    return wrong


@contextlib.contextmanager
def _at_most(seconds: int) -> Any:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"the cell took longer than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def get(namespace: dict[str, Any], name: str) -> tuple[bool, Any]:
    """(is it a function, else its value) of a name."""
    if name not in namespace:
        raise NameError(f"name {name!r} is not defined")
    value = namespace[name]
    return (True, None) if callable(value) else (False, value)


def call(
    namespace: dict[str, Any], name: str, args: Any, kwargs: Any, files: dict[str, bytes | None]
) -> Any:
    """Call a function in a working directory that holds these files and no others.

    Args:
        files: relative path to content, None for a folder; parents first.
    """
    os.chdir(FOLDER)
    for path in FOLDER.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path, content in files.items():
        Path(path).mkdir() if content is None else Path(path).write_bytes(content)
    return namespace[name](*args, **kwargs)


def in_words(error: BaseException) -> list[str]:
    """Type and text of an exception."""
    try:
        return [type(error).__name__, str(error)[:1000]]
    except Exception:
        return [type(error).__name__, ""]


def encode(value: Any) -> Any:
    """A plain value as JSON: {kind: content} where JSON has no such thing.

    Raises:
        TypeError: it is no plain value.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(each)] for key, each in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        return _array(value)
    raise TypeError(f"{type(value).__name__!r} is no plain value: give numbers, text or containers")


def _array(value: Any) -> Any:
    """A torch tensor or a NumPy array; a NumPy scalar is a number."""
    library = type(value).__module__.partition(".")[0]
    if library == "torch":
        value = value.detach()
    elif not value.shape:
        return value.item()
    dtype = str(value.dtype).removeprefix("torch.")
    return {"array": [library, dtype, list(value.shape), value.reshape(-1).tolist()]}


if __name__ == "__main__":
    os.umask(0o077)
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        main(inherited)
