"""Long programs: what they said, why they failed, and that none outlives its caller."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from labutils import programs
from labutils.errors import LabError


def python(code: str, layers: int = 0) -> str:
    """Run a Python program as if it were LMDeploy."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return programs.run(command, name="the program", cwd=".", env=os.environ, layers=layers)


def test_of_a_progress_bar_stays_what_stays_on_the_screen():
    said = python(r"print('begin'); print('\r 0%| |\r 50%|= |\r 100%|==|'); print('end')")
    assert [line for line in said.splitlines() if line] == ["begin", "100%|==|", "end"]


def test_layers_move_the_bar(capsys):
    python(
        """
        print("Move model.layers.7 to CPU.")
        for n in range(3):
            print(f"model.layers.{n}, samples: 8, max gpu memory: 0.00 GB")
        for n in range(2):
            print(f"model.layers.{n} smooth weight done.")
        """,
        layers=3,
    )
    shown = capsys.readouterr().err
    assert "calibrate: 100%" in shown and "| 3/3 [" in shown
    assert "scale:  67%" in shown.split("3/3")[-1], "each stage begins anew"


def test_a_failure_is_told_in_the_programs_last_words():
    with pytest.raises(LabError, match="^the program failed: ValueError: seven is no even number$"):
        python(r"print('\r 10%|=  |'); raise ValueError('seven is no even number')")
    with pytest.raises(LabError, match="^the program failed: exit code 3$"):
        python("raise SystemExit(3)")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("loading\n[FATAL] CUDA error: out of memory\nbye", "[FATAL] CUDA error: out of memory"),
        ("ValueError: one\nRuntimeError: two\n10%|= |", "RuntimeError: two"),
        ("loading\nnothing more", "nothing more"),
        ("", ""),
    ],
)
def test_the_telling_line(said, line):
    assert programs.telling(programs.lines_of(said)) == line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_caller_ends_the_program(number):
    sleeper = "import time; print('started', flush=True); time.sleep(600)"
    code = f"""
        import os, sys
        from labutils import programs
        command = [sys.executable, "-c", {sleeper!r}]
        programs.run(command, name="x", cwd=".", env=os.environ)
    """
    caller = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.DEVNULL
    )
    children: list[psutil.Process] = []
    while not children and caller.poll() is None:
        children = psutil.Process(caller.pid).children()
        time.sleep(0.05)
    time.sleep(0.5)  # the child sets up how it ends after it has started
    caller.send_signal(number)
    caller.wait(30)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert gone and not alive


def test_layers_of_a_model_or_of_none(tmp_path):
    assert programs.layers_of(tmp_path) == 0
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 30}')
    assert programs.layers_of(tmp_path) == 30
