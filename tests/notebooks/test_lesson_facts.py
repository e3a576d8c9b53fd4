"""What lessons state as facts about the outside world, asked of the outside world."""

import contextlib
import io
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from labutils import notebooks
from labutils.paths import NOTEBOOKS


def names_of(lesson: str, cell_id: str) -> dict:
    """What a cell that needs no other cell leaves defined."""
    notebook = notebooks.read(NOTEBOOKS / "en" / f"{lesson}.ipynb")
    (source,) = (cell.source for cell in notebook.cells if cell.id == cell_id)
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(source, names)
    return names


def pip_says(folder, *requirements: str) -> str:
    """What pip, as on Python 3.10 and Linux, says of installing these together."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--target", str(folder)]
    command += ["--ignore-installed", "--only-binary=:all:", "--python-version", "3.10"]
    command += ["--platform", "manylinux2014_x86_64", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.network
@pytest.mark.parametrize(
    ("package", "wish", "refused"),
    [
        ("torch 2.0.1", "triton==2.0.0", "triton==2.2.0"),
        ("torch 2.0.1", "nvidia-cuda-runtime-cu11==11.7.99", "nvidia-cuda-runtime-cu11==11.8.89"),
        ("lmdeploy 0.2.4", "triton<=2.2.0,>=2.1.0", "triton==2.0.0"),
    ],
)
def test_pip_quotes_what_lesson_00_says_and_refuses_the_pair(tmp_path, package, wish, refused):
    assert wish in names_of("00_environment", "then")["declared"][package]
    said = pip_says(tmp_path, package.replace(" ", "=="), refused)
    assert "ResolutionImpossible" in said, said
    wanted = Requirement(wish)
    (quoted,) = re.findall(rf"{package} depends on ({wanted.name}[^\s;]+(?: and \S+)?)", said)
    assert Requirement(quoted.replace(" and ", ",")).specifier == wanted.specifier
