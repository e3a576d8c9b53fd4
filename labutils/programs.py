"""Runs one of LMDeploy's programs to its end, with a progress bar where it counts layers, and finds
what an engine said of its end."""

import contextlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from labutils.errors import LabError
from labutils.folders import read_config
from labutils.processes import end_with_parent

LAYER = re.compile(r"\S*?\.(\d+)[., ].*(samples|smooth|packed)")
"""What `lmdeploy lite` says when a layer is done: model.layers.7, samples: 8, …"""
STAGES = {"samples": "calibrate", "smooth": "scale", "packed": "pack"}
_TELLING = re.compile(
    r"\b(?:fatal|check failed|terminate called|what\(\):|out of memory)\b"
    r"|^(?:[\w.]*\.)?\w*(?:Error|Exception)\b",
    re.I,
)
_FATAL = re.compile(r"\bfatal\b", re.I)


def run(
    command: Sequence[str], name: str, cwd: str | Path, env: Mapping[str, str], layers: int = 0
) -> str:
    """Run a program to its end and return what it printed; interrupted, it ends.

    Args:
        command: its argument list.
        name: what to call it when it fails.
        cwd: the folder that it runs in.
        env: its environment variables.
        layers: of the model, for the progress bar; 0 for none.

    Raises:
        LabError: it failed; with its own last words.
    """
    said: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**env, "PYTHONUNBUFFERED": "1"},  # so that the bar moves when the program does
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=end_with_parent,
    )
    with process, tqdm(total=layers, disable=not layers, unit="layer") as bar:
        try:
            for line in process.stdout:
                _note(line.strip(), said, bar)
        except BaseException:  # Ctrl-C as well
            process.kill()
            raise
    if process.returncode:
        reason = [f"exit code {process.returncode}", *lines_of("\n".join(said))][-1]
        raise LabError(f"{name} failed: {reason}")
    return "\n".join(said)


def _note(line: str, said: list[str], bar: tqdm) -> None:
    """Keep a line and move the bar; of a program's own bar, keep what stays on the screen."""
    if "%|" in line and said and "%|" in said[-1]:
        said.pop()
    said.append(line)
    if (done := LAYER.match(line)) and not bar.disable:
        bar.set_description(STAGES[done[2]], refresh=False)
        bar.n = int(done[1]) + 1
        bar.refresh()


def lines_of(said: str) -> list[str]:
    """A program's output as lines, without empty ones and progress bars."""
    lines = (line.strip() for line in said.replace("\r", "\n").splitlines())
    return [line for line in lines if line and "%|" not in line]


def telling(lines: Sequence[str]) -> str:
    """The line that says most about why an engine ended; '' if there is none.

    Of fatal errors that is the first, because those of other threads follow from it; of exceptions
    the last, which names the others as its causes.
    """
    fatal = [line for line in lines if _FATAL.search(line)][:1]
    found = fatal or [line for line in lines if _TELLING.search(line)][-1:] or lines[-1:]
    return "".join(found)


def layers_of(model: str | Path) -> int:
    """The number of layers that a model folder's config.json gives; 0 if it gives none."""
    with contextlib.suppress(OSError, ValueError):
        return int(read_config(Path(model)).get("num_hidden_layers", 0))
    return 0
