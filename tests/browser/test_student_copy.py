"""A student copy in JupyterLab: Run All reaches the end and shows what is to be done."""

import re

import pytest
from nbformat.v4 import new_code_cell

from labutils import notebooks, release
from labutils.paths import NOTEBOOKS

LESSON = "05_kv_quantization"


@pytest.mark.slow
def test_run_all_of_an_unsolved_copy_reaches_the_end(lab, page):
    address, folder = lab
    book = release.student_copy(notebooks.read(NOTEBOOKS / "en" / f"{LESSON}.ipynb"))
    book.cells = [cell for cell in book.cells if "nbgrader" in cell.metadata]
    graded = len(book.cells)
    book.cells.append(new_code_cell("print('the ' + 'end')"))
    notebooks.write(book, folder / f"{LESSON}.ipynb")
    page.goto(f"{address}/lab/tree/{LESSON}.ipynb")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_text("the end", exact=True).wait_for()
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    assert [re.sub(r"\D", "", each) for each in prompts.all_text_contents()] == [
        str(number + 1) for number in range(graded + 1)
    ]
    assert page.get_by_text("NotImplementedError").count() >= 1
