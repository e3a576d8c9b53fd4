"""How much of a GPU's memory was in use at most while something ran.

The driver's own tool is asked several times a second, because a process that asks through CUDA
takes memory itself. It sees the whole card: what other processes hold counts as well, and a peak
shorter than the interval may be missed.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

INTERVAL_MS = 200


@dataclass
class Peak:
    """The largest figure seen."""

    mib: int | None = None
    """MiB in use; None while nothing was seen, and where there is no GPU."""

    def note(self, line: str) -> None:
        """Take a line of nvidia-smi into account; what is no number is passed over."""
        if (number := line.strip()).isdecimal():
            self.mib = max(self.mib or 0, int(number))


@contextmanager
def watch() -> Iterator[Peak]:
    """Look at the first GPU that CUDA may use until the block ends; its peak so far."""
    peak = Peak()
    try:
        looking = subprocess.Popen(
            [*_command()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:  # no nvidia-smi, no GPU
        yield peak
        return
    reader = threading.Thread(target=lambda: [*map(peak.note, looking.stdout)], daemon=True)
    reader.start()
    try:
        yield peak
    finally:
        looking.terminate()
        looking.wait()
        reader.join()


def _command() -> Iterator[str]:
    yield from ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    yield from ("-i", visible or "0", "-lms", str(INTERVAL_MS))
