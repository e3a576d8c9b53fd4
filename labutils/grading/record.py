"""Record values of a lesson that its tests need and only an engine or LMDeploy 0.2.4 can make.

    python -m labutils.grading.record LESSON [NAME …]

Runs the lesson up to its first graded cell and writes the values into `recorded.json`: those that
are there already, and the names given, such as `sent` or `answer.input_token_len`. Only plain
values and small arrays can be recorded.
"""

import copy
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nbformat.v4 import new_code_cell

from labutils import execution, notebooks
from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.grading.lesson import RECORDED
from labutils.paths import NOTEBOOKS

TELL = """
import json
from labutils.grading.inside import encode
print(json.dumps({{name: encode(eval(name)) for name in {names!r}}}))
"""


def record(stem: str, names: Sequence[str], path: Path = RECORDED) -> dict[str, object]:
    """Run a lesson and store the values of these names, in place of all it had.

    Raises:
        LabError: a cell fails, or a value is not plain.
    """
    notebook = copy.deepcopy(notebooks.read(NOTEBOOKS / notebooks.ENGLISH / f"{stem}.ipynb"))
    graded = [index for index, cell in enumerate(notebook.cells) if "nbgrader" in cell.metadata]
    tell = new_code_cell(TELL.format(names=list(names)))
    notebook.cells = [*notebook.cells[: graded[0]], tell]
    with tempfile.TemporaryDirectory() as folder:
        failed = execution.execute(notebook, folder=Path(folder), timeout=None)
    if failed:
        raise LabError(f"{stem}, code cell {failed.cell}: {failed.error}")
    values = json.loads(notebook.cells[-1].outputs[-1].text)
    recorded = json.loads(path.read_text("utf-8")) | {stem: values}
    write_atomically(path, json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    return values


def main() -> None:
    """Record what the command line asks for."""
    (stem,) = notebooks.lessons(sys.argv[1:2])
    known = json.loads(RECORDED.read_text("utf-8")).get(stem, {})
    for name, value in record(stem, [*dict.fromkeys([*known, *sys.argv[2:]])]).items():
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
