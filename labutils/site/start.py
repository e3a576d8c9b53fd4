"""The start page of each edition: what the course is, for whom, the path, how to begin.

The sentence about each lesson is the one in the README's table, its time the one that the lesson
states. The words are in the templates `start_LANGUAGE.md.j2`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import jinja2
from nbformat import NotebookNode

from labutils.notebooks import CHINESE, ENGLISH

_HERE = Path(__file__).parent
_READMES = {ENGLISH: "README.md", CHINESE: "README.zh-CN.md"}


def start_page(edition: str, pages: Mapping[str, NotebookNode], root: Path) -> str:
    """The page as Markdown.

    Args:
        pages: the edition's staged lessons by name, in course order.
        root: the folder of notebooks; the READMEs lie above it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    about = summaries(root.parent / _READMES[edition])
    lessons = [
        {
            "stem": stem,
            "link": f"{edition}/{stem}.ipynb" if edition == ENGLISH else f"{stem}.ipynb",
            "title": title(page, stem),
            "about": about.get(stem[:2], ""),
            "minutes": minutes(page),
            "run": page.metadata.get("lab_run"),
        }
        for stem, page in pages.items()
    ]
    runs = [lesson["run"] for lesson in lessons if lesson["run"]]
    return environment.get_template(f"start_{edition}.md.j2").render(
        lessons=lessons,
        hours=round(sum(lesson["minutes"] or 0 for lesson in lessons) / 60),
        latest=max(runs, key=lambda run: run.started, default=None),
        when=readable,
    )


def summaries(readme: Path) -> dict[str, str]:
    """A sentence for each lesson's number, from the table of a README; none without one."""
    text = readme.read_text("utf-8") if readme.is_file() else ""
    return dict(re.findall(r"^\| (\d\d) [^|]+ \| (.+) \|$", text, re.MULTILINE))


def title(notebook: NotebookNode, stem: str) -> str:
    """The lesson's first heading, fit for a link."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^#+\s+(.+)$", prose, re.MULTILINE)
    return re.sub(r"[\[\]|]", " ", found[1]).strip() if found else stem


def minutes(notebook: NotebookNode) -> int | None:
    """The time that the lesson says it takes."""
    found = re.search(r"\*\*(?:Time|用时)\*\*\D*(\d+)", "\n".join(c.source for c in notebook.cells))
    return int(found[1]) if found else None


def readable(moment: str) -> str:
    """'2025-01-31T12:00:05+00:00' as '2025-01-31 12:00 UTC'."""
    return f"{moment[:10]} {moment[11:16]} UTC"
