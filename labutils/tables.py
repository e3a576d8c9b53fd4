"""Tables in READMEs and lessons that are made from data, and kept equal to it.

    python -m labutils.tables

writes every table anew between its two comments, `<!-- table: NAME -->` and `<!-- /table -->`, in
both languages. A test says when one differs from its data. Where a table stands, and the words
around it, are the authors' business.
"""

import re
from collections.abc import Callable
from pathlib import Path

from labutils import claims, measured, notebooks
from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.paths import NOTEBOOKS, ROOT

READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
REGION = re.compile(r"<!-- table: ([\w-]+) -->.*?<!-- /table -->", re.DOTALL)
TABLES: dict[str, Callable[[str], str]] = {
    "claims": claims.table,
    "two-servers": measured.two_servers,
    "tensor-parallel": measured.tensor_parallel,
    "kv-cache": measured.kv_cache,
    "weights": measured.weights,
    "slices": measured.slices,
    "ladder": measured.ladder,
    "lessons": measured.lessons,
}
"""Each makes its table in a language, 'en' or 'zh'."""


def names(text: str) -> list[str]:
    """The tables in a text, in their order."""
    return REGION.findall(text)


def renewed(text: str, language: str) -> str:
    """A text with all its tables made anew.

    Raises:
        LabError: it names a table that there is not, or a comment is missing.
    """
    if unknown := sorted(set(names(text)) - set(TABLES)):
        raise LabError(f"There is no table {unknown[0]!r}: choose from {', '.join(TABLES)}.")
    if text.count("<!-- table:") != len(names(text)):
        raise LabError("A table goes between <!-- table: NAME --> and <!-- /table -->.")

    def region(found: re.Match[str]) -> str:
        table = TABLES[found[1]](language)
        return f"<!-- table: {found[1]} -->\n\n{table}\n\n<!-- /table -->"

    return REGION.sub(region, text)


def write() -> list[Path]:
    """Renew the tables of the READMEs and of all lessons; the files that changed."""
    changed = []
    for language, path in READMES.items():
        old = path.read_text("utf-8")
        if (new := renewed(old, language)) != old:
            write_atomically(path, new)
            changed.append(path)
    for language in notebooks.EDITIONS:
        for stem in notebooks.lessons():
            path = NOTEBOOKS / language / f"{stem}.ipynb"
            notebook = notebooks.read(path)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = renewed(cell.source, language)
            if notebooks.write(notebook, path):
                changed.append(path)
    return changed + [path for path in notebooks.sync() if path not in changed]


if __name__ == "__main__":
    print("\n".join(map(str, write())) or "All tables are as before.")
