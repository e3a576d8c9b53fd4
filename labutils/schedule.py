"""What an engine's scheduler says while requests run: slots and cache in use over time.

LMDeploy's own server asks its scheduler the same every ten seconds for `/metrics`. Here an engine
of this process is asked many times a second, because a lesson is over by then.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """The scheduler at one moment."""

    seconds: float
    """Since the watching began."""
    running: int
    """Requests that have a slot in the batch."""
    waiting: int
    """Requests that wait for one."""
    cache: float
    """Share of the KV cache's blocks in use, 0 to 1."""


@contextmanager
def watch(pipe: Any, every: float = 0.02) -> Iterator[list[Look]]:
    """Look at the scheduler of an LMDeploy pipeline while the body runs.

    Args:
        pipe: what `lmdeploy.pipeline` returned.
        every: seconds between two looks.

    Yields:
        A list that fills meanwhile; its last look is taken when the body has ended.
    """
    looks: list[Look] = []
    ended = threading.Event()
    start = time.perf_counter()

    def look() -> None:
        said = pipe.async_engine.engine.get_schedule_metrics()
        seconds = time.perf_counter() - start
        looks.append(Look(seconds, said.active_seqs, said.waiting_seqs, said.cache_usage))

    def keep_looking() -> None:
        while not ended.wait(every):
            look()

    watcher = threading.Thread(target=keep_looking, name="scheduler watch", daemon=True)
    watcher.start()
    try:
        yield looks
    finally:
        ended.set()
        watcher.join()
        look()
