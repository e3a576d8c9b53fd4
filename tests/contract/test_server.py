"""Servers start with proof, end without a trace, and say in one sentence what went wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from waiting import wait_for

from labutils import LabError, processes
from labutils.processes import end_orphans, group
from labutils.server import Server, api_server, listens, proxy

CHAT = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 8}


@pytest.fixture(scope="module")
def running(model) -> Iterator[Server]:
    """A server for all tests; once it has ended, nothing of it is left."""
    options = {"session_len": 1024, "model_name": "smollm2", "api_key": "secret"}
    with api_server(model, **options) as started:
        yield started
        leader = started.process.pid
    assert group(leader) == []
    assert started.health() == 0 and is_free(started.url)
    assert not list(processes.RUNNING.glob(f"{leader}.json"))
    assert started.log.is_file()
    started.close()  # once more is harmless


def is_free(url: str) -> bool:
    address, port = url.removeprefix("http://").split(":")
    return not listens(address, int(port))


def our_notes() -> set[str]:
    """The servers that this process has noted as its own."""
    notes = {note.name: json.loads(note.read_text()) for note in processes.RUNNING.glob("*.json")}
    return {name for name, said in notes.items() if said["owner"][0] == os.getpid()}


def test_a_started_server_answers(running):
    assert running.health() == 200
    assert running.command[:3] == ["lmdeploy", "serve", "api_server"]
    answer = running.client().chat.completions.create(model=running.model, **CHAT)
    assert answer.usage.completion_tokens > 0
    assert len(group(running.process.pid)) > 1, "LMDeploy's engine is a process of its own"


def test_a_taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=f"Port {port} of 127.0.0.1 is taken: end what uses it"):
            proxy(port=port)


def test_an_option_that_lmdeploy_does_not_have(model):
    with pytest.raises(LabError, match="no option quant_polcy: did you mean quant_policy"):
        api_server(model, quant_polcy=8)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(model):
    before = {p.pid for p in psutil.process_iter()}
    with pytest.raises(LabError, match=r"The server ended: .*tp=2 needs several GPUs"):
        api_server(model, tp=2)
    mine = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    assert not [p for p in mine if "--tp 2" in " ".join(p.info["cmdline"] or [])]


def test_a_server_that_takes_too_long_is_ended(model):
    before = our_notes()
    with pytest.raises(LabError, match="did not answer in 1 s, see .*log"):
        api_server(model, start_seconds=1)
    assert our_notes() == before


OWNER = """
import sys, time
from labutils import model_path
from labutils.server import api_server
server = api_server(model_path("smollm2-135m"), session_len=512)
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_server_ends_with_the_process_that_started_it(number):
    """SIGKILL is what a kernel restart in the end comes to."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    leader = int(owner.stdout.readline())
    assert group(leader)
    owner.send_signal(number)
    owner.wait(60)
    assert wait_for(lambda: not group(leader)), "the server outlived its owner"
    end_orphans()
    assert not list(processes.RUNNING.glob(f"{leader}.json"))


def test_a_restarted_kernel_ends_its_own_orphans_and_no_one_elses(model, running):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    leader = int(owner.stdout.readline())
    # Both at once, as when the machine runs out of memory: nobody is left to end the engine.
    owner.kill()
    os.kill(leader, signal.SIGKILL)
    owner.wait(30)
    assert wait_for(lambda: leader not in group(leader), 10)
    assert group(leader), "without its leader the engine goes on"
    assert end_orphans() == 1
    assert group(leader) == []
    assert running.health() == 200, "somebody else's server is left alone"
    assert end_orphans() == 0


def test_the_engine_process_killed_and_an_error_inside_the_block(model):
    """What /health says when the engine is gone, and that nothing stays."""
    with pytest.raises(ZeroDivisionError), api_server(model, session_len=512) as started:
        leader = started.process.pid
        engine = next(
            child
            for child in psutil.Process(leader).children()
            if "spawn_main" in " ".join(child.cmdline())
        )
        engine.kill()
        assert wait_for(lambda: started.health() != 200)
        1 / 0  # noqa: B018
    assert group(leader) == []
    assert is_free(started.url)


# --- bad requests --------------------------------------------------------------------------------


def test_an_unknown_model_is_404(running):
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        running.client().chat.completions.create(model="no-such-model", **CHAT)


def test_a_context_too_long_is_refused_and_the_server_goes_on(running):
    long = {"messages": [{"role": "user", "content": "word " * 3000}], "max_tokens": 8}
    with pytest.raises(openai.BadRequestError):
        running.client().chat.completions.create(model="smollm2", **long)
    assert running.client().chat.completions.create(model="smollm2", **CHAT).choices


def test_malformed_json_is_400(running):
    answer = httpx.post(
        f"{running.url}/v1/chat/completions",
        content='{"model": "smollm2", "messages": [',
        headers={"content-type": "application/json", "Authorization": "Bearer secret"},
    )
    assert answer.status_code == 400


def test_a_wrong_key_is_401(running):
    assert running.client().models.list().data
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="wrong").models.list()


def test_a_client_that_goes_away_frees_its_blocks(running):
    """Its request is aborted: a long one that nobody reads would otherwise run on.

    LMDeploy looks at its cache for /metrics every ten seconds.
    """
    endless = {**CHAT, "max_tokens": 900, "extra_body": {"ignore_eos": True}}
    streams = [
        running.client().chat.completions.create(model="smollm2", stream=True, **endless)
        for _ in range(3)
    ]
    for stream in streams:
        next(iter(stream))
    assert wait_for(lambda: running.metrics()["num_requests_running"] == 3)
    assert running.metrics()["gpu_cache_usage_perc"] > 0
    for stream in streams:
        stream.close()
    assert wait_for(lambda: running.metrics()["gpu_cache_usage_perc"] == 0)
    metrics = running.metrics()
    assert metrics["num_requests_running"] == 0
    assert metrics["generation_tokens_total"] < 3 * 900, "the answers were cut off"


def test_a_server_sees_only_its_own_gpu(model, monkeypatch):
    monkeypatch.setattr("labutils.server._wait", lambda *args: None)
    with api_server(model, gpu=1) as server:
        environment = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=1" in environment
