"""`python -m labutils.chat`: the chat panel as a page of its own, through Voila.

LMDeploy's `serve gradio` is gone; this takes its place. A server starts, then Voila, which shows a
notebook of one cell; both are for this machine only, and both end with the command.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat

from labutils import server as servers
from labutils.chat.conversation import Conversation
from labutils.chat.failures import check_language
from labutils.chat.panel import ChatPanel
from labutils.errors import LabError
from labutils.models import model_path
from labutils.processes import end_group, start

ADDRESS = "127.0.0.1"
START_SECONDS = 60.0
CELL = "from labutils.chat.page import panel\n\npanel()"
TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block notebook_css -%}
{{ super() | replace('href="https://', 'data-not-fetched="https://') }}
{%- endblock -%}
"""
"""Voila's page without the style sheets that it would fetch from elsewhere."""


def main(
    model: str | None = None,
    port: int | None = None,
    language: str = "en",
    say: Callable[[str], Any] = print,
) -> None:
    """Serve a model and its chat page until Ctrl-C.

    Args:
        model: registry name or folder; None takes the course's own.
        port: of the page; None takes a free one.
        language: of the page's labels, en or zh.

    Raises:
        LabError: the port is taken, or the server or Voila ended.
    """
    check_language(language)
    port = servers.free_port(ADDRESS, port)  # before a minute's wait for the model
    say("Starting the model's server …")
    with servers.api_server(model_path(model)) as server, _voila(server, port, language) as page:
        say(f"Chat with {server.model}: http://{ADDRESS}:{port}/   (Ctrl-C ends it)")
        while page.poll() is None and server.process.poll() is None:
            time.sleep(0.5)
        raise LabError(f"The {'page' if page.poll() is not None else 'server'} has ended.")


def panel() -> ChatPanel:
    """The panel on the page; `main` tells its kernel by the environment which server to use."""
    from openai import OpenAI

    client = OpenAI(base_url=os.environ["LAB_CHAT_URL"], api_key="none", max_retries=0)
    language = os.environ["LAB_CHAT_LANGUAGE"]
    return ChatPanel(Conversation(client, os.environ["LAB_CHAT_MODEL"], language=language))


@contextlib.contextmanager
def _voila(server: servers.Server, port: int, language: str) -> Iterator[subprocess.Popen]:
    """Voila on the notebook, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="lab-chat-") as name:
        folder = Path(name)
        _write(folder, server.model)
        told = {
            "LAB_CHAT_URL": f"{server.url}/v1",
            "LAB_CHAT_MODEL": server.model,
            "LAB_CHAT_LANGUAGE": language,
            "JUPYTER_PATH": name,
            "TMPDIR": name,
        }
        with (folder / "log").open("w") as log:
            process = start(_command(folder, port), log, env={**os.environ, **told})
        try:
            _wait(process, port, folder / "log")
            yield process
        finally:
            end_group(process.pid, process.poll)


def _write(folder: Path, title: str) -> None:
    """The notebook of one cell, and the template that shows it."""
    cells = [nbformat.v4.new_code_cell(CELL)]
    book = nbformat.v4.new_notebook(cells=cells, metadata={"title": title})
    nbformat.write(book, folder / "chat.ipynb")
    template = folder / "voila" / "templates" / "chat"
    template.mkdir(parents=True)
    (template / "index.html.j2").write_text(TEMPLATE)
    (template / "conf.json").write_text('{"base_template": "lab"}')


def _command(folder: Path, port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "voila",
        str(folder / "chat.ipynb"),
        "--no-browser",
        "--template=chat",
        f"--Voila.ip={ADDRESS}",
        f"--port={port}",
        "--Voila.port_retries=0",
        # A closed page says so to Voila; one that vanished is forgotten after a while.
        "--MappingKernelManager.cull_interval=60",
        "--MappingKernelManager.cull_idle_timeout=300",
    ]


def _wait(process: subprocess.Popen, port: int, log: Path) -> None:
    """Until the page's port answers; LabError with the last words if Voila ends before."""
    deadline = time.monotonic() + START_SECONDS
    while not servers.listens(ADDRESS, port):
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-2:]
            raise LabError(f"Voila did not start: {' / '.join(words)}")
        time.sleep(0.2)
