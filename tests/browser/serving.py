"""Starts and ends of the servers that a browser talks to."""

import signal
import subprocess
import time
from pathlib import Path

from labutils.server import listens


def end(process: subprocess.Popen) -> None:
    """SIGTERM: a Jupyter server then ends its kernels."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def wait_until_listens(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not listens("127.0.0.1", port):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
