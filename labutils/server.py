"""The real `lmdeploy serve api_server` and `serve proxy`, started and ended without a trace.

    with api_server(model) as server:
        server.client().chat.completions.create(model=server.model, messages=…)

A server gets a free port on 127.0.0.1, writes its log to a file, and counts as started when
`/health` says 200 *and* one real completion has come back. It ends with the block, with `close()`
and with the Python process, also when that is killed. Whatever stays behind all the same, the next
start finds and ends: its own orphans, never anyone else's.
"""

import atexit
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from labutils.commands import command
from labutils.cpu import activate
from labutils.errors import LabError
from labutils.processes import RUNNING, end_group, end_orphans, forget, note, start

if TYPE_CHECKING:
    from openai import OpenAI

START_SECONDS = 300.0
KEPT_LOGS = 20
"""Logs of earlier servers that stay in build/servers."""
HEARTBEAT = "LMDEPLOY_CONTROLLER_HEART_BEAT_EXPIRATION"
"""By which `serve proxy` learns, at its start, how often to look after its nodes."""


@dataclass
class Server:
    """A running `lmdeploy serve …`; use it in a `with` block, or call `close()`."""

    url: str
    """http://ADDRESS:PORT, without /v1."""
    command: list[str]
    log: Path
    model: str = ""
    """The name that requests use; '' for a proxy."""
    api_key: str = ""
    process: subprocess.Popen = field(repr=False, default=None)

    def client(self) -> "OpenAI":
        """An `openai` client of this server."""
        from openai import OpenAI

        return OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key or "none", max_retries=0)

    def health(self) -> int:
        """The status that /health answers with; 0 when nothing answers."""
        try:
            return httpx.get(f"{self.url}/health", timeout=10).status_code
        except httpx.HTTPError:
            return 0

    def metrics(self) -> dict[str, float]:
        """What `/metrics` says of LMDeploy, by name, without buckets; labels are added up.

        Counters are up to date; gauges (requests running, cache usage, …) are as LMDeploy saw them
        at most ten seconds ago.
        """
        from prometheus_client.parser import text_string_to_metric_families

        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        answer = httpx.get(f"{self.url}/metrics", headers=headers, follow_redirects=True)
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(answer.raise_for_status().text):
            for sample in family.samples:
                vendor, _, name = sample.name.partition("lmdeploy:")
                if not vendor and name and "le" not in sample.labels:
                    found[name] = found.get(name, 0.0) + sample.value
        return found

    def forwarding(self) -> str:
        """What to type on a laptop to reach this server on an InternStudio machine."""
        port = self.url.rpartition(":")[2]
        return f"ssh -CN -L {port}:127.0.0.1:{port} root@ssh.intern-ai.org.cn -p YOUR_SSH_PORT"

    def reason(self) -> str:
        """Why the log says that it ended: its first error, else its last line.

        The engine is a process of its own, so the first error is the cause, and the last one only
        says that the engine is gone.
        """
        said = self.log.read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^(?:[\w.]*\.)?\w*(?:Error|Exception): .*", said, re.M)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return [*errors, *lines[-1:], "it printed nothing"][0].rstrip(".")

    def close(self) -> None:
        """End the server and everything that it started; harmless when it has ended already."""
        atexit.unregister(self.close)  # by then the number may be another process's
        end_group(self.process.pid, self.process.poll)
        forget(self.process.pid)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def api_server(
    model: str,
    *,
    port: int | None = None,
    name: str = "127.0.0.1",
    api_key: str = "",
    gpu: int | None = None,
    start_seconds: float = START_SECONDS,
    **options: Any,
) -> Server:
    """Start `lmdeploy serve api_server` and wait until it answers.

    Args:
        model: model folder.
        port: TCP port; None takes a free one.
        name: the address that it listens on; 0.0.0.0 lets everybody in.
        api_key: a key that requests must carry; '' for none.
        gpu: the only GPU that it sees, counted from 0; None leaves it all of them.
        start_seconds: how long it may take to answer.
        options: further options of the command, such as session_len or quant_policy.

    Raises:
        LabError: the port is taken, LMDeploy has no such option, or the server ended or did not
            answer in time; with its last words.
    """
    options.setdefault("model_name", Path(model).name)
    if api_key:
        options["api_keys"] = api_key
    sees = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
    server = _start("serve api_server", (model,), name, port, options, api_key, sees)
    server.model = options["model_name"]
    _wait(server, lambda: server.health() == 200 and _completes(server), start_seconds)
    return server


def proxy(
    servers: Sequence[Server] = (),
    *,
    port: int | None = None,
    name: str = "127.0.0.1",
    api_key: str = "",
    heartbeat: int | None = None,
    start_seconds: float = 60.0,
    **options: Any,
) -> Server:
    """Start `lmdeploy serve proxy` in front of `servers`, and wait until it knows them.

    Args:
        servers: to add as its nodes, all with the same model name and without API keys, because
            the proxy asks them for their models without one.
        port, name: as for `api_server`.
        api_key: a key that requests to the proxy must carry; '' for none.
        heartbeat: seconds between two looks at whether the nodes still live; None leaves LMDeploy's
            own choice, 90.
        start_seconds: how long it may take to answer.
        options: further options of the command, such as routing_strategy.

    Raises:
        LabError: as for `api_server`, or a server could not be added.
    """
    # Otherwise it keeps its nodes in a file inside the installed package, for ever.
    options.setdefault("disable_cache_status", True)
    if api_key:
        options["api_keys"] = api_key
    beat = {} if heartbeat is None else {HEARTBEAT: str(heartbeat)}
    running = _start("serve proxy", (), name, port, options, api_key, beat)
    _wait(running, lambda: _get(f"{running.url}/nodes/status") is not None, start_seconds)
    for server in servers:
        answer = httpx.post(f"{running.url}/nodes/add", json={"url": server.url}, timeout=30)
        if answer.status_code != 200 or server.url not in (_get(f"{running.url}/nodes/status")):
            running.close()
            raise LabError(f"The proxy does not take {server.url}: {answer.text[:200]}")
    running.model = servers[0].model if servers else ""
    return running


# --- starting ------------------------------------------------------------------------------------


def _start(
    what: str,
    words: tuple[str, ...],
    name: str,
    port: int | None,
    options: dict[str, Any],
    api_key: str,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Server:
    """Start the process in a session of its own, and note that it is ours."""
    end_orphans()
    port = free_port(name, port)
    exact = options.get("dtype") == "float32" and activate.is_active()
    if exact:  # what the CPU device adds to LMDeploy's own choices
        options = {**options, "dtype": None}
    line = command(what, *words, server_name=name, server_port=port, **options)
    line += ["--dtype", "float32"] if exact else []
    RUNNING.mkdir(parents=True, exist_ok=True)
    for old in sorted(RUNNING.glob("*.log"), key=lambda file: file.stat().st_mtime)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    log = RUNNING / f"{what.split()[-1]}-{port}.log"
    program = [str(Path(sys.executable).with_name(line[0])), *line[1:]]
    with log.open("w", encoding="utf-8") as output:
        process = start(program, output, env={**os.environ, **variables})
    server = Server(f"http://{name}:{port}", line, log, api_key=api_key, process=process)
    note(process.pid)
    atexit.register(server.close)
    return server


def free_port(name: str, asked: int | None) -> int:
    """The port asked for, if nobody listens on it, or a free one.

    Raises:
        LabError: the port asked for is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((name, asked or 0))
        except OSError as error:
            raise LabError(
                f"Port {asked} of {name} is taken: end what uses it, or leave port out to get a "
                "free one."
            ) from error
        return probe.getsockname()[1]


def listens(name: str, port: int) -> bool:
    """Whether something answers on a TCP port."""
    with socket.socket() as probe:
        return probe.connect_ex((name, port)) == 0


def _wait(server: Server, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until it is ready; end it and raise LabError if it ends or takes too long."""
    deadline = time.monotonic() + seconds
    try:
        while not ready():
            if server.process.poll() is not None:
                raise LabError(f"The server ended: {server.reason()} (see {server.log}).")
            if time.monotonic() > deadline:
                raise LabError(f"The server did not answer in {seconds:.0f} s, see {server.log}.")
            time.sleep(0.3)
    except BaseException:  # Ctrl-C as well
        server.close()
        raise


def _completes(server: Server) -> bool:
    """Whether one real completion comes back; /health alone is answered too early."""
    body = {"model": server.model, "prompt": "Hi", "max_tokens": 1}
    headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=60)
        return answer.status_code == 200
    return False


def _get(url: str) -> Any:
    """A JSON answer, or None when there is none."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(url, timeout=10)
        return answer.json() if answer.status_code == 200 else None
    return None
