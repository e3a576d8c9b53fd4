"""Run one notebook in a fresh kernel of this very Python and fill in its outputs.

The kernel is always the running interpreter, whatever kernels are registered on the machine, with
an IPython folder of its own, so that nobody's start-up files take part. It talks over sockets in a
private folder, not over ports that a lesson's server may want. It is gone when `execute` returns,
also after a failed cell, a dead kernel or Ctrl-C, and
so is what its cells started.

Not here: which notebooks, and what becomes of them (`course`).
"""

import asyncio
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # nbclient's remarks are said again, better, as failures


@dataclass(frozen=True)
class Failure:
    """The code cell that ended a run, counted from 1, and the error in one line."""

    cell: int
    error: str


def execute(
    notebook: NotebookNode,
    *,
    folder: Path,
    timeout: float | None,
    on_cell: Callable[[int], None] = lambda number: None,
) -> Failure | None:
    """Execute all code cells in order, in place, until one fails; None when none did.

    Args:
        folder: an empty scratch folder, the working directory of the cells.
        timeout: seconds that one cell may take, or None for no limit.
        on_cell: called with the number of the code cell that starts, counted from 1.
    """
    todo = [item for item in enumerate(notebook.cells) if _is_executable(item[1])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with _kernel(notebook, folder, timeout) as client:
        failure = None
        for number, (index, cell) in enumerate(todo, 1):
            on_cell(number)
            if error := _run_cell(client, cell, index):
                failure = Failure(number, error)
                break
        client.set_widgets_metadata()
    return failure


def count_cells(notebook: NotebookNode) -> int:
    """How many code cells there are to execute; empty ones are passed over."""
    return sum(map(_is_executable, notebook.cells))


def _is_executable(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _run_cell(client: NotebookClient, cell: NotebookNode, index: int) -> str:
    """Run one cell; what went wrong in one line, or ''."""
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        last = [line for line in error.evalue.splitlines() if line.strip()][-1:]
        return ": ".join([error.ename, *last])
    except DeadKernelError:
        return _note(cell, "DeadKernelError", "the kernel died while it ran this cell")
    except CellTimeoutError:
        return _note(cell, "TimeoutError", f"the cell took longer than {client.timeout:g} s")
    return ""


def _note(cell: NotebookNode, name: str, message: str) -> str:
    """Show in the cell what no output says by itself."""
    text = f"{name}: {message}"
    cell.outputs.append(new_output("error", ename=name, evalue=message, traceback=[text]))
    return text


@contextmanager
def _kernel(
    notebook: NotebookNode, folder: Path, timeout: float | None
) -> Iterator[NotebookClient]:
    with ExitStack() as last:
        private = Path(last.enter_context(tempfile.TemporaryDirectory(prefix="lab-")))
        manager = AsyncKernelManager(
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # leaves this interpreter's own
            transport="ipc",
            connection_file=str(private / "kernel.json"),
        )
        last.callback(_end_what_is_left, manager)
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=timeout,
            record_timing=False,
            coalesce_streams=True,
            log=_log,
        )
        client.reset_execution_trackers()
        environment = os.environ | {"IPYTHONDIR": str(private)}
        silence = last.enter_context(open(os.devnull, "w"))  # until the kernel captures its output
        with client.setup_kernel(
            cleanup_kc=True, cwd=str(folder), env=environment, stdout=silence, stderr=silence
        ):
            last.callback(_end_group, manager.provisioner.pid)
            try:
                yield client
            except KeyboardInterrupt:
                run_sync(_abandon)()
                raise
            finally:
                last.enter_context(_ctrl_c_later())


def _end_what_is_left(manager: AsyncKernelManager) -> None:
    """End a kernel that was stopped while it was starting."""
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back, so that a kernel is always ended in full."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


async def _abandon() -> None:
    """Forget the cell that was waited for, or asyncio complains about it at the very end."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _end_group(group: int) -> None:
    """End what cells started and left behind: the kernel leads a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
