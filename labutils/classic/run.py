"""Runs LMDeploy 0.2.4: in a notebook, and on a terminal by `lab classic lmdeploy …`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from labutils import programs
from labutils.bootstrap import CLASSIC_PYTHONS, PYTHON
from labutils.classic.checks import VERSION, check_convert, check_lite
from labutils.errors import LabError
from labutils.paths import ROOT

FOLDER = Path(sys.prefix) / "classic"
STAND_INS = Path(__file__).parent / "stand_ins"


def why_not() -> str:
    """Why 0.2.4 cannot run here, as one sentence; '' if it can."""
    if PYTHON not in CLASSIC_PYTHONS:
        return (
            f"LMDeploy {VERSION} has packages for Python {' and '.join(CLASSIC_PYTHONS)} only: "
            "make run PYTHON=python3.11 sets the course up with that."
        )
    if not (FOLDER / "lmdeploy" / "version.py").is_file():
        return f"LMDeploy {VERSION} is not installed in {FOLDER}: run make run."
    return ""


def lmdeploy(*arguments: str, cwd: str | Path = ".", check: bool = True) -> str:
    """Run a command of LMDeploy 0.2.4 to its end and return what it printed.

    Args:
        arguments: what follows `lmdeploy` on its command line.
        cwd: the folder that it runs in.
        check: whether to refuse what would go wrong, see `checks`.

    Raises:
        LabError: 0.2.4 is not here, refuses, or fails; with its own last words.
    """
    command = _prepared(arguments, Path(cwd), check)
    model = Path(cwd) / arguments[2] if arguments[:1] == ("lite",) and arguments[2:] else ""
    return programs.run(
        command,
        name=f"lmdeploy {' '.join(arguments[:1])} of {VERSION}",
        cwd=cwd,
        env=environment(),
        layers=programs.layers_of(model),
    )


def main(arguments: Sequence[str]) -> int:
    """`lab classic lmdeploy …`: the same on a terminal; the exit code of 0.2.4."""
    command = _prepared(arguments, Path.cwd(), check=True)
    return subprocess.call(command, env=environment())


def environment() -> dict[str, str]:
    """The environment variables under which Python finds 0.2.4 and nothing goes to a hub."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, STAND_INS, ROOT))),
        "PYTHONWARNINGS": "ignore",
        "LMDEPLOY_CPU": "0",  # today's CPU device knows nothing of 0.2.4
        "HF_HUB_OFFLINE": "1",
        "TQDM_MININTERVAL": "5",
    }


def _prepared(arguments: Sequence[str], cwd: Path, check: bool) -> list[str]:
    """The command to run; LabError if it cannot or should not run."""
    if reason := why_not():
        raise LabError(reason)
    if check and arguments and arguments[0] == "convert":
        check_convert(arguments[1:], cwd)
    if check and arguments and arguments[0] == "lite":
        check_lite(arguments, cwd)
    return [sys.executable, "-m", "labutils.classic.shim", *arguments]
