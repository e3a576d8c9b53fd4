"""Ports and processes of the servers that a browser talks to."""

import signal
import socket
import subprocess
import time
from pathlib import Path


def end(process: subprocess.Popen) -> None:
    """SIGTERM: a Jupyter server then ends its kernels."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_listens(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not listens(port):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
