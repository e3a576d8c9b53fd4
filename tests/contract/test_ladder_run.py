"""The ladder on real engines: what goes wrong with one rung is noted, and nothing measured is lost.

The model is the course's own, its first 3 layers. Faults are planted from outside: Python runs
`sitecustomize` when a rung's process starts.
"""

import fcntl
import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from labutils import LabError
from labutils.ladder import results
from labutils.ladder.plan import Plan
from labutils.ladder.runner import run

TINY = Plan(
    per_category=2,
    new_tokens=4,
    passages=2,
    passage_tokens=32,
    concurrency=(1, 2),
    prompt_tokens=16,
    decoded_tokens=3,
    repeats=2,
    session_len=512,
)
FAULTS = {
    "kv-int8": """
        import os
        print("[TM][FATAL] attention.cu(65): check failed: head_dim", file=sys.stderr, flush=True)
        os.abort()
    """,
    "w4a16": """
        kept = []
        while True:
            kept.append(b"x" * 2**25)
    """,
    "w4a16-kv-int8": """
        import time
        time.sleep(600)
    """,
}
"""What happens in a rung's process while its engine is being loaded."""


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Plant the faults in the processes of rungs that are started from now on."""
    folder = tmp_path / "faults"
    folder.mkdir()
    lines = ["import sys", "class Fault:", "    @staticmethod", "    def find_spec(name, *rest):"]
    lines += ["        if name != 'transformers': return None"]
    for name, code in FAULTS.items():
        lines += [f"        if sys.orig_argv[-2].endswith('/{name}.task.json'):"]
        lines += textwrap.indent(textwrap.dedent(code), " " * 12).splitlines()
    lines += ["if 'labutils.ladder.worker' in sys.orig_argv: sys.meta_path.insert(0, Fault)"]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")


def start(out: Path, **options) -> subprocess.Popen:
    """A ladder in a process of its own, which can be killed."""
    code = f"""
        from pathlib import Path
        from labutils.ladder.plan import Plan
        from labutils.ladder.runner import run
        run(out={str(out)!r}, plan={TINY!r}, **{options!r})
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])


def processes_of(out: Path) -> list[int]:
    """Living processes with the run's folder in their command lines."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] != "zombie" and str(out) in " ".join(
            process.info["cmdline"] or ""
        ):
            found.append(process.pid)
    return found


@pytest.fixture(scope="module")
def killed(short_model, tmp_path_factory) -> tuple[Path, bytes]:
    """A run whose ladder was killed while its second rung was being measured, and its baseline."""
    out = tmp_path_factory.mktemp("run") / "out"
    ladder = start(out, model=str(short_model), rungs="kv-int4")
    assert wait_for((out / "rungs" / "kv-int4.log").is_file, 200)
    time.sleep(2)  # into the start of the engine
    assert len(processes_of(out)) >= 3, "ladder, keeper and rung"
    ladder.kill()
    ladder.wait()
    assert wait_for(lambda: not processes_of(out), 20)
    assert sorted(file.name for file in (out / "rungs").glob("*.json")) == [
        "baseline.json",
        "baseline.task.json",
        "kv-int4.task.json",
    ]
    return out, (out / "rungs" / "baseline.json").read_bytes()


def test_a_second_start_loses_nothing_and_faults_stop_nobody_else(
    killed, short_model, w4a16_searched, faults
):
    out, baseline = killed
    said: list[str] = []
    options = {"model": str(short_model), "awq": w4a16_searched, "plan": TINY, "out": out}
    found = run(
        **options, rungs="kv-int8,kv-int4,w4a16,w4a16-kv-int4", memory=3 * 2**30, say=said.append
    )
    assert said[0] == "1 of 5 rungs are measured already."
    assert (out / "rungs" / "baseline.json").read_bytes() == baseline
    status = {entry.name: entry.status for entry in found.rungs}
    assert status == {
        "baseline": "ok",
        "kv-int8": "crashed",
        "kv-int4": "ok",
        "w4a16": "out of memory",
        "w4a16-kv-int4": "ok",
    }
    aborted = found.entry("kv-int8").message.splitlines()[-1]
    assert aborted == "[TM][FATAL] attention.cu(65): check failed: head_dim (ended by SIGABRT)"
    assert "3.0 GiB are allowed" in found.entry("w4a16").message
    assert not processes_of(out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "attention.cu(65): check failed" in page

    found = run(**options, rungs="w4a16-kv-int8", seconds=8, say=said.append)
    assert found.entry("w4a16-kv-int8").status == "timeout"
    assert found.entry("kv-int4").status == "ok", "what is measured already stays in the summary"
    assert found.entry("w4a16") is None, "what failed without being asked for again does not"
    assert not processes_of(out)


def test_a_complete_run_is_read_not_measured(killed, short_model):
    out, _ = killed
    run(str(short_model), out=out, plan=TINY, rungs="kv-int4", say=lambda line: None)
    before = {file: file.stat().st_mtime_ns for file in (out / "rungs").iterdir()}
    start = time.monotonic()
    said: list[str] = []
    run(str(short_model), out=out, plan=TINY, rungs="kv-int4", say=said.append)
    assert time.monotonic() - start < 10
    assert said == ["2 of 2 rungs are measured already."]
    assert {file: file.stat().st_mtime_ns for file in (out / "rungs").iterdir()} == before


def test_other_conditions_are_measured_anew(killed, short_model):
    out, _ = killed
    other = replace(TINY, new_tokens=5)
    run(str(short_model), out=out, plan=other, rungs="baseline", say=lambda line: None)
    kept = results.read(out / "rungs" / "baseline.json")
    assert kept.conditions.settings["new_tokens"] == "5"
    told = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in told["rungs"]] == ["baseline"]
    assert told["decision"]["outcome"] == "nothing else ran"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_leaves_no_process(short_model, bin_dir, tmp_path, number, code):
    out = tmp_path / "run"
    words = ["ladder", "run", "--model", str(short_model), "--out", str(out), "--quick"]
    ladder = subprocess.Popen([bin_dir / "lab", *words], stderr=subprocess.PIPE, text=True)
    assert any("engine" in line for line in iter(ladder.stderr.readline, ""))
    time.sleep(1)  # into the start of the engine
    ladder.send_signal(number)
    _, said = ladder.communicate(timeout=30)
    assert ladder.returncode == code
    assert "Traceback" not in said
    assert not processes_of(out)
    assert not list((out / "rungs").glob("baseline.json"))


def test_two_ladders_do_not_share_a_folder(short_model, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LabError, match="Another ladder is at work in"):
            run(str(short_model), out=out, plan=TINY)
