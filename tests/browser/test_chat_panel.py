"""The chat panel, driven in a browser as a student drives it."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nbformat.v4 import new_code_cell
from waiting import wait_for

from labutils import notebooks
from labutils.paths import NOTEBOOKS
from labutils.server import listens

BUILD = Path(__file__).parents[2] / "build"
LESSON = "04_api_serving.ipynb"
STORY = "Write a long story about the sea."


def copy_lesson(folder: Path) -> list[str]:
    """The lesson as a student has it, nothing executed; the ids of its code cells.

    After the panel it only ends the server: what else lies there, nbval runs.
    """
    book = notebooks.read(NOTEBOOKS / "en" / LESSON)
    after = [cell.id for cell in book.cells].index("panel-check") + 1
    book.cells[after:] = [new_code_cell("server.close()\nprint('the ' + 'end')")]
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebooks.write(book, folder / LESSON)
    shutil.copytree(NOTEBOOKS / "en" / "figures", folder / "figures")
    return [cell.id for cell in book.cells if cell.cell_type == "code"]


def run_cell(page, number: int, seconds: float = 120) -> None:
    """Run a cell with Shift+Enter, as often as JupyterLab, still busy loading, loses the key."""
    prompt = page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt")

    def starts() -> bool:
        prompt.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(1500)
        return "[ ]" not in prompt.text_content()

    assert wait_for(starts, 60)
    assert wait_for(lambda: re.search(r"\[\d+\]", prompt.text_content()), seconds)


def picture(page, name: str) -> None:
    (BUILD / "screenshots").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=BUILD / "screenshots" / f"{name}.png")


def transcript(page) -> str:
    return page.locator("[role=log]").last.text_content()


def elsewhere(page) -> list[str]:
    """The addresses on other machines that the page asked for."""
    return [url for url in page.asked if re.match(r"\w+://(?!127\.0\.0\.1:)", url)]


def say(page, text: str) -> None:
    box = page.get_by_placeholder("Type a message, then press Enter")
    box.fill(text)
    box.press("Enter")


def set_max_tokens(page, count: int) -> None:
    box = page.get_by_role("spinbutton", name="max tokens")
    box.fill(str(count))
    box.press("Tab")


def chat(page, name: str) -> None:
    """Hold a conversation in the panel: one whole answer, one that is stopped."""
    set_max_tokens(page, 40)
    say(page, STORY)
    early = wait_for(lambda: re.search(r"smollm2-135m: (.+)▍", transcript(page), re.S))[1]
    counters = page.locator("code", has_text=re.compile(r"completion \d+ tokens · TTFT \d"))
    counters.wait_for()
    whole = transcript(page)
    assert STORY in whole and "▍" not in whole
    assert early in whole and len(whole.split("smollm2-135m: ")[1]) > len(early), "it streamed"
    assert re.fullmatch(
        r"prompt \d+ tokens · completion \d+ tokens · TTFT [\d.]+ s · [\d.]+ tokens/s",
        counters.text_content(),
    )
    picture(page, name)
    set_max_tokens(page, 1500)
    say(page, STORY)
    assert wait_for(lambda: re.search(r"smollm2-135m: .*smollm2-135m: .+▍", transcript(page), re.S))
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("[role=log] i", has_text="(stopped)").wait_for()
    # Each widget's change travels on its own: the buttons may follow the text a moment later.
    page.get_by_role("button", name="Send", exact=True, disabled=False).wait_for()


@pytest.mark.timeout(900)
def test_a_student_works_through_the_lesson_on_serving(page, lab):
    """JupyterLab opens lesson 04, runs it as far as the chat panel, chats, ends the server."""
    url, folder = lab
    cells = copy_lesson(folder)
    page.goto(f"{url}/lab/tree/{LESSON}")
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
    panel = cells.index("panel")
    for number in range(panel + 1):
        run_cell(page, number, 300)
    server = re.search(r"127\.0\.0\.1:(\d+)", page.locator(".jp-OutputArea").first.text_content())
    assert listens("127.0.0.1", int(server[1]))
    page.get_by_role("button", name="Clear", exact=True).click()
    assert wait_for(lambda: transcript(page) == "")
    chat(page, "chat_panel")

    for number in range(panel + 1, len(cells)):
        run_cell(page, number, 300)
    assert not listens("127.0.0.1", int(server[1]))
    assert page.locator('.jp-RenderedText[data-mime-type*="stderr"] .ansi-red-fg').count() == 0
    page.get_by_text("the end", exact=True).wait_for()

    say(page, "Are you there?")
    alert = page.locator("[role=alert]")
    alert.wait_for()
    assert re.fullmatch(
        r"⚠ No server answers at http://\S+/v1/: start it again.", alert.inner_text()
    )
    picture(page, "chat_panel_error")
    page.get_by_role("button", name="Clear", exact=True).click()
    assert wait_for(lambda: transcript(page) == "")
    assert not elsewhere(page), "the page works without a network"


@pytest.fixture
def command(jupyter_env, tmp_path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`python -m labutils.chat` as typed in a terminal, and the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "labutils.chat", "--model", "smollm2-135m"],
        env={**jupyter_env, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        lines = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in process.stdout)
        yield process, next(found[0] for found in lines if found)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.timeout(400)
def test_the_page_without_a_notebook(page, command, tmp_path):
    process, url = command
    started = psutil.Process(process.pid).children(recursive=True)
    page.goto(url)
    page.get_by_placeholder("Type a message, then press Enter").wait_for()
    chat(page, "chat_page")
    assert not elsewhere(page), "the page works without a network"
    started = {*started, *psutil.Process(process.pid).children(recursive=True)}
    assert any("ipykernel" in " ".join(each.cmdline()) for each in started if each.is_running())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    psutil.wait_procs(started, 10)
    assert not [each for each in started if each.is_running()]
    assert not listens("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))
    assert not list(tmp_path.glob("lab-chat-*"))
