"""What the ladder tells a process of its own to do, and what that process tells back.

A task is a JSON file. On the way the process writes one JSON object a line to a pipe: how far it
is, and at last, if it comes to that, why it failed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from labutils.ladder.plan import Plan
from labutils.ladder.records import read_record
from labutils.ladder.results import Conditions, Status

FORMAT = "lmdeploy-lab ladder task 1"


@dataclass(frozen=True)
class Task:
    """Measure one rung, or make its 4-bit weights."""

    kind: Literal["measure", "quantize"]
    name: str
    """The rung's."""
    title: str
    """What to call the model."""
    model: str
    """Folder of the weights to load, or to quantize."""
    run: str
    """The run's folder."""
    plan: Plan
    data: tuple[str, ...]
    """The items' files."""
    languages: tuple[str, ...]
    quant_policy: int = 0
    against: bool = False
    """Whether to compare with the logits that the baseline left."""
    keep: bool = False
    """Whether to leave logits for others to be compared with."""
    conditions: Conditions = Conditions()
    command: str = ""
    started: str = ""
    format: Literal["lmdeploy-lab ladder task 1"] = FORMAT


def read(path: Path) -> Task:
    """The task in a file; LabError if it is none."""
    return read_record(path, Task, FORMAT)


@dataclass(frozen=True)
class Progress:
    """How far a process is."""

    doing: str
    """Such as 'answers 32/72'."""
    done: float
    """Share of all that it has to do."""


@dataclass(frozen=True)
class Failure:
    """Why it failed, in its own judgement."""

    status: Status
    message: str


class Pipe:
    """The end of the pipe that a process writes to."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # the engine's own processes must not hold it open
        self._descriptor = descriptor

    def send(self, said: Progress | Failure) -> None:
        """Write one line; a reader that has gone is no error."""
        line = json.dumps({"kind": type(said).__name__, **asdict(said)}) + "\n"
        try:
            os.write(self._descriptor, line.encode())
        except BrokenPipeError:
            pass


def heard(line: str) -> Progress | Failure:
    """What a line of the pipe says."""
    said = json.loads(line)
    kind = {"Progress": Progress, "Failure": Failure}[said.pop("kind")]
    return kind(**said)
