"""Lines that say how far a run is: rung, measurement, time left."""

import time
from collections.abc import Callable

from labutils.ladder.task import Progress

EVERY = 15.0
"""Seconds between two lines about the same measurement."""
BEGINNING = 0.2
"""Share of the first rung before which nothing is said about the time left."""


class Reporter:
    """Says a line when the measurement changes, and now and then in between.

    Time left is what the rungs so far took, times those to come. The first one is judged by how far
    it is itself, so its guess is rough.
    """

    def __init__(self, rungs: int, say: Callable[[str], None]) -> None:
        """Rungs to measure, and what takes a line."""
        self._rungs, self._say = rungs, say
        self._taken: list[float] = []
        self.begin("")

    def begin(self, title: str) -> None:
        """A rung begins."""
        self._title, self._what = title, ""
        self._since = self._said = time.monotonic()

    def hear(self, progress: Progress) -> None:
        """A rung's process says how far it is."""
        now = time.monotonic()
        what = progress.doing.split()[0]
        if what == self._what and now - self._said < EVERY:
            return
        self._what, self._said = what, now
        left = self.left(progress.done, now - self._since)
        about = "" if left is None else f", {_about(left)} left"
        self._say(f"[{len(self._taken) + 1}/{self._rungs}] {self._title}: {progress.doing}{about}")

    def end(self, words: str) -> None:
        """A rung has ended."""
        taken = time.monotonic() - self._since
        self._say(f"[{len(self._taken) + 1}/{self._rungs}] {self._title}: {words}, {taken:.0f} s")
        self._taken.append(taken)

    def left(self, done: float, elapsed: float) -> float | None:
        """Seconds left of the run; None while nothing can be said.

        Args:
            done: share of the present rung that is done.
            elapsed: seconds that it has taken.
        """
        if self._taken:
            each = sum(self._taken) / len(self._taken)
        elif done >= BEGINNING:
            each = elapsed / done
        else:
            return None
        return each * (self._rungs - len(self._taken) - done)


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
