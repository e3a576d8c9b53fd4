"""Every link within the course leads somewhere: of READMEs, of lessons, and of the built site."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from labutils.notebooks import read
from labutils.paths import DATA, NOTEBOOKS, ROOT

ELSEWHERE = re.compile(r"(https?|mailto|data):|//")
LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)")
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)
DOCUMENTS = [*ROOT.glob("*.md"), *DATA.rglob("*.md"), *sorted(NOTEBOOKS.glob("*/*.ipynb"))]


def prose(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text("utf-8")
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def anchors(markdown: str) -> set[str]:
    """The names that GitHub and JupyterLab give to headings."""
    titles = re.findall(r"^#+ +(.+?) *$", CODE.sub("", markdown), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title).strip() for title in titles]
    return {re.sub(" ", "-", each.lower()) for each in plain} | {
        re.sub(" ", "-", title) for title in titles
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_documents_lead_somewhere(path):
    broken = []
    for found in LINK.findall(CODE.sub("", prose(path))):
        link = "".join(found)
        if ELSEWHERE.match(link):
            continue
        address, fragment = urldefrag(unquote(link))
        target = (path.parent / address).resolve() if address else path
        if not target.exists():
            broken.append(link)
        elif fragment and fragment not in anchors(prose(target)):
            broken.append(link)
    assert broken == []


class Page(HTMLParser):
    """The names and the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names, self.links = set(), []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.names.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_links_of_the_site_lead_somewhere(course_site):
    pages = {path: Page(path) for path in sorted(course_site.rglob("*.html"))}
    assert len(pages) >= 20
    broken = []
    for path, page in pages.items():
        for link in page.links:
            address, fragment = urldefrag(unquote(link))
            if ELSEWHERE.match(link) or (not address and not fragment):
                continue
            target = (path.parent / address.partition("?")[0]).resolve() if address else path
            if not target.is_file() or (
                fragment and target in pages and fragment not in pages[target].names
            ):
                broken.append(f"{path.relative_to(course_site)}: {link}")
    assert broken == []
    start = pages[course_site / "index.html"]
    lessons = [path.stem for path in sorted((NOTEBOOKS / "en").glob("*.ipynb"))]
    assert {f"en/{stem}.html" for stem in lessons} <= set(start.links)
    assert {"zh/index.html", "en/ladder_report.html"} <= set(start.links)
    chinese = pages[course_site / "zh" / "index.html"]
    assert {f"{stem}.html" for stem in lessons} <= set(chinese.links)
    assert {"../index.html", "ladder_report.html"} <= set(chinese.links)
