"""A process of the ladder ends as it should, and nothing of it is left."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from waiting import lives, wait_for

from labutils.ladder.supervisor import Limits, last_words, run
from labutils.ladder.task import Progress

PLENTY = Limits(60, 2**33)


def started(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def ended(code: str, tmp_path: Path, limits: Limits = PLENTY, hear=lambda said: None):
    return run(started(code), tmp_path / "log", limits, hear)


def test_one_that_ends_well_is_heard_to_its_last_word(tmp_path):
    heard = []
    code = """
        import sys
        from labutils.ladder.task import Pipe, Progress
        pipe = Pipe(int(sys.argv[1]))
        for n in range(300):
            pipe.send(Progress(f"answers {n}", n / 300))
    """
    found = ended(code, tmp_path, hear=heard.append)
    assert (found.status, found.message) == ("ok", "")
    assert heard == [Progress(f"answers {n}", n / 300) for n in range(300)]


@pytest.mark.parametrize(
    ("code", "status", "last"),
    [
        ("import os; os.abort()", "crashed", "ended by SIGABRT"),
        ("raise SystemExit(7)", "crashed", "ended with exit code 7"),
        (
            "import os; print('[TM][FATAL] stream.h(31): check failed: invalid argument', flush=1);"
            "print('core dumped', flush=1); os.abort()",
            "crashed",
            "[TM][FATAL] stream.h(31): check failed: invalid argument (ended by SIGABRT)",
        ),
        ("raise ValueError('head_dim 65')", "crashed", "ValueError: head_dim 65 (ended with exit"),
        ("raise OSError('no /srv/models/x.bin')", "crashed", "OSError: no x.bin (ended with exit"),
        ("raise MemoryError('no room')", "out of memory", "MemoryError: no room"),
        ("print('CUDA out of memory.'); raise SystemExit(1)", "out of memory", "CUDA out of mem"),
    ],
)
def test_one_that_fails_is_quoted(tmp_path, code, status, last):
    found = ended(code, tmp_path)
    assert found.status == status
    assert found.message.splitlines()[-1].startswith(last)


def test_of_fatal_errors_the_first_is_the_cause(tmp_path):
    """TurboMind 0.18.0 with the KV cache in int4 and head_dim 64: two threads die of one error."""
    (tmp_path / "log").write_text(
        "[TM][ERROR][turbomind.cc:486] Warm-up for 3072 tokens failed with status 6\n"
        "[TM][FATAL][stream.h:31] CUDA error: misaligned address\n"
        "  [ 0] TM_CUDA_CHECK @ stream.h:31\n"
        "[TM][FATAL][allocator.cc:49] CUDA error: misaligned address\n"
        "  [ 1] UnifiedAttentionLayer::core_attention() @ unified_attention_layer.cc:446\n"
    )
    words = last_words(tmp_path / "log", "ended by SIGABRT").splitlines()
    assert words[-1] == "[TM][FATAL][stream.h:31] CUDA error: misaligned address (ended by SIGABRT)"
    assert "core_attention" in words[-2], "where it happened is quoted, too"


def test_its_own_judgement_counts(tmp_path):
    code = """
        import sys
        from labutils.ladder.task import Failure, Pipe
        Pipe(int(sys.argv[1])).send(Failure("unsupported", "no int4 here"))
        raise SystemExit(1)
    """
    found = ended(code, tmp_path)
    assert (found.status, found.message) == ("unsupported", "no int4 here")


CHILDREN = """
    import pathlib, subprocess, sys, time
    code = "import time; time.sleep(600)"
    near = subprocess.Popen([sys.executable, "-c", code])
    far = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    note = pathlib.Path({note!r})
    note.with_suffix(".new").write_text(f"{{near.pid}} {{far.pid}}")
    note.with_suffix(".new").rename(note)
    print("Loading", flush=True)
"""


def pids(note: Path) -> list[int]:
    return [int(word) for word in note.read_text().split()]


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = textwrap.dedent(CHILDREN.format(note=str(tmp_path / "pids"))) + "time.sleep(600)"
    found = ended(code, tmp_path, Limits(4, 2**33))
    assert found.status == "timeout"
    assert found.message.splitlines()[-1] == "Loading (stopped after 4 s)"
    assert not any(map(lives, pids(tmp_path / "pids")))


def kept(work: str) -> str:
    """The code of a process whose keeper lets a child do this work, as `worker` does."""
    work = textwrap.dedent(work)
    return (
        f"from labutils.ladder.worker import kept; raise SystemExit(kept(lambda: exec({work!r})))"
    )


def test_one_that_crashes_leaves_no_child(tmp_path):
    work = textwrap.dedent(CHILDREN.format(note=str(tmp_path / "pids"))) + "import os; os.abort()"
    found = ended(kept(work), tmp_path)
    assert found.status == "crashed"
    assert found.message.splitlines()[-1] == "Loading (ended by SIGABRT)"
    assert not any(map(lives, pids(tmp_path / "pids")))


def test_one_that_eats_memory_is_stopped_whoever_of_its_children_does(tmp_path):
    code = """
        import subprocess, sys
        eat = "import time; kept = []\\nwhile True: kept.append(b'x' * 2**25); time.sleep(0.02)"
        subprocess.run([sys.executable, "-c", eat])
    """
    found = ended(code, tmp_path, Limits(60, 2**29))
    assert found.status == "out of memory"
    assert "0.5 GiB are allowed" in found.message
    assert found.seconds < 30


def test_an_interrupt_ends_it(tmp_path):
    code = textwrap.dedent(CHILDREN.format(note=str(tmp_path / "pids"))) + textwrap.dedent("""
        from labutils.ladder.task import Pipe, Progress
        Pipe(int(sys.argv[1])).send(Progress("engine", 0))
        time.sleep(600)
    """)

    def interrupt(said: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended(code, tmp_path, hear=interrupt)
    assert not any(map(lives, pids(tmp_path / "pids")))


@pytest.mark.parametrize("blocked", [False, True], ids=["listening", "deaf to signals"])
def test_a_killed_ladder_takes_its_process_along(tmp_path, blocked):
    """The keeper sees to it, even when the work hears nothing any more."""
    deaf = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n" * blocked
    work = deaf + textwrap.dedent(CHILDREN.format(note=str(tmp_path / "pids"))) + "time.sleep(600)"
    ladder = f"""
        import sys
        from pathlib import Path
        from labutils.ladder.supervisor import Limits, run
        command = [sys.executable, "-c", {kept(work)!r}]
        run(command, Path({str(tmp_path / "log")!r}), Limits(600, 2**33), print)
    """
    process = subprocess.Popen(started(ladder))
    assert wait_for((tmp_path / "pids").is_file), (tmp_path / "log").read_text()
    found = [*pids(tmp_path / "pids"), *(p.pid for p in psutil.Process(process.pid).children(True))]
    assert len(found) > 3
    assert all(map(lives, found))
    process.kill()
    process.wait()
    assert wait_for(lambda: not any(map(lives, found)))
