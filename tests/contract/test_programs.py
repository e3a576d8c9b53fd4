"""LMDeploy's own programs, typed as a student types them in the course's environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from lmdeploy import ChatTemplateConfig

from labutils import LabError, models, terminal_chat
from labutils.models import check_folder
from labutils.server import free_port


def test_a_model_without_a_template_chats_with_the_one_that_the_sentence_names(
    model, tmp_path, tokenizer
):
    """The cure that `model_path` names is one that LMDeploy accepts, and it is ChatML."""
    bare = Path(shutil.copytree(model, tmp_path / "bare"))
    (bare / models.MANIFEST).unlink()
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(LabError) as refused:
        models.model_path(str(bare))
    line = str(refused.value).partition("start LMDeploy with one: ")[2].split()
    said = terminal_chat(["Name three colours."], [*line, "--session-len", "128"])
    assert said[0][1]
    template = ChatTemplateConfig.from_json(line[-1]).chat_template()
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    talk += [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Why?"}]
    expected = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert template.messages2prompt(talk) == expected


def test_chat_in_a_terminal(model):
    # Answers are sampled and may ramble: the short session bounds them.
    command = ["lmdeploy", "chat", model, "--session-len", "128"]
    turns = terminal_chat(["Name three colours.", "end", "What is 2 + 2?"], command)
    assert [message for message, _ in turns] == ["Name three colours.", "end", "What is 2 + 2?"]
    assert turns[0][1] and turns[2][1]
    assert not turns[1][1], "`end` starts a new conversation and answers nothing"


def test_chat_with_what_the_cpu_cannot_do_is_one_sentence_and_no_process_stays(model, bin_dir):
    with pytest.raises(LabError, match="tp=2 needs several GPUs; the CPU device runs tp=1"):
        terminal_chat(["Hi"], ["lmdeploy", "chat", model, "--tp", "2"])
    assert not lmdeploy_processes(model)


def lmdeploy_processes(model: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid()
        and "lmdeploy" in " ".join(process.info["cmdline"] or [])
        and model in " ".join(process.info["cmdline"] or [])
    ]


@pytest.fixture(scope="module")
def server(model, bin_dir, tmp_path_factory) -> Iterator[str]:
    """Base URL of `lmdeploy serve api_server`, ended with Ctrl-C as in a terminal."""
    port = free_port("127.0.0.1", None)
    command = [bin_dir / "lmdeploy", "serve", "api_server", model, "--server-name", "127.0.0.1"]
    command += ["--server-port", str(port), "--session-len", "2048", "--model-name", "smollm2"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert not lmdeploy_processes(model), "the server left a process behind"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not become healthy: {log.read_text()[-2000:]}")


@pytest.fixture
def client(server):
    from openai import OpenAI

    return OpenAI(base_url=f"{server}/v1", api_key="none")


QUESTION = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Write one sentence about the sea."}],
    "temperature": 0,
    "max_tokens": 24,
}


def test_the_server_lists_the_model(client):
    assert [m.id for m in client.models.list()] == ["smollm2"]


def test_streamed_chat_equals_whole_chat(client):
    whole = client.chat.completions.create(**QUESTION).choices[0].message.content
    stream = client.chat.completions.create(**QUESTION, stream=True)
    pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
    assert len(pieces) > 5
    assert "".join(pieces) == whole


def test_completions(client):
    answer = client.completions.create(
        model="smollm2", prompt="Once upon a time", max_tokens=8, temperature=0
    )
    assert answer.usage.completion_tokens == 8


def test_the_server_answers_health_while_it_computes(client, server):
    stream = client.chat.completions.create(**{**QUESTION, "max_tokens": 64}, stream=True)
    next(iter(stream))
    with urllib.request.urlopen(f"{server}/health", timeout=10) as answer:
        assert answer.status == 200
    stream.close()


def test_guided_json(client):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    answer = client.chat.completions.create(
        **{**QUESTION, "max_tokens": 96},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema},
        },
    )
    person = json.loads(answer.choices[0].message.content)
    assert isinstance(person["age"], int)


def test_bench_reports_ratios(model):
    command = [sys.executable, "-m", "labutils.cli", "bench", "--json", "--batch", "1"]
    command += ["--prompt", "32", "--decode", "16", "--repeats", "1", "--model", model]
    command += ["--kv", "none", "int4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout)
    assert [(row["engine"], row["weights"], row["kv"], row["batch"]) for row in rows] == [
        ("lmdeploy-cpu", "bf16", "none", 1),
        ("lmdeploy-cpu", "bf16", "int4", 1),
    ]
    # No timing is judged here: a busy machine may give any decode ratio over so few tokens.
    assert all(row["prefill_tok_s"] > 0 for row in rows)
    assert all({"decode_tok_s", "decode_vs_hf", "prefill_vs_hf"} <= set(row) for row in rows)


def test_the_model_folder_is_untouched_by_all_this(model):
    check_folder(Path(model), hashes=True)
