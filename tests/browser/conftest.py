"""A headless Chromium and a JupyterLab of their own: no file of the user's is read or written."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import end, wait_until_listens

from labutils.server import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    # Every cell is in the page, not only those that one sees.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}


@pytest.fixture
def page(tmp_path) -> Iterator:
    """An empty tab; `page.asked` lists the addresses that it asked for."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=QUIET,
            viewport={"width": 1280, "height": 900},
        )
        tab = browser.pages[0]
        tab.asked = []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.set_default_timeout(60_000)
        yield tab
        browser.close()


@pytest.fixture
def jupyter_env(tmp_path) -> dict[str, str]:
    """An environment that keeps Jupyter's files under tmp_path, with our settings."""
    for name, text in SETTINGS.items():
        file = tmp_path / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    places = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    return {**os.environ, **{name: str(tmp_path / folder) for name, folder in places.items()}}


@pytest.fixture
def lab(tmp_path, jupyter_env) -> Iterator[tuple[str, Path]]:
    """(address, folder) of a JupyterLab on an empty folder, ended with all its kernels."""
    folder = tmp_path / "work"
    folder.mkdir()
    port = free_port("127.0.0.1", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.token="]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    log = tmp_path / "jupyterlab.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=jupyter_env)
    try:
        wait_until_listens(port, process, log)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        end(process)
