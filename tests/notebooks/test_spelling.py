"""The English of lessons, documents and programs has none of the misspellings codespell knows.

A word that it takes for wrong and is right belongs in pyproject.toml: [tool.codespell],
ignore-words-list.
"""

import subprocess
import sys

from labutils.notebooks import read
from labutils.paths import DATA, NOTEBOOKS, ROOT


def test_english_is_spelled_right(tmp_path):
    for path in (NOTEBOOKS / "en").glob("*.ipynb"):
        sources = [cell.source for cell in read(path).cells]
        (tmp_path / f"{path.stem}.md").write_text("\n\n".join(sources), "utf-8")
    documents = [*ROOT.glob("*.md"), *DATA.rglob("*.md"), ROOT / "Makefile", ROOT / "labutils"]
    command = [sys.executable, "-m", "codespell_lib", *map(str, documents), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
