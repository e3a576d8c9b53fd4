"""Every image says in its reader's language what it shows; figures are as the code draws them."""

import re
from pathlib import Path

import pytest

from labutils.figures import FIGURES
from labutils.notebooks import read
from labutils.paths import NOTEBOOKS, ROOT

IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def images(edition: str) -> list[tuple[str, str, str]]:
    """(file, alternative text, address) of every image in an edition's lessons and README."""
    readme = ROOT / {"en": "README.md", "zh": "README.zh-CN.md"}[edition]
    texts = {readme.name: readme.read_text("utf-8")}
    for path in sorted((NOTEBOOKS / edition).glob("*.ipynb")):
        texts[path.name] = "\n".join(
            cell.source for cell in read(path).cells if cell.cell_type == "markdown"
        )
    return [(name, *found) for name, text in texts.items() for found in IMAGE.findall(text)]


@pytest.mark.parametrize(("edition", "chinese", "least"), [("en", False, 30), ("zh", True, 15)])
def test_alternative_texts_are_sentences_in_the_reader_s_language(edition, chinese, least):
    poor = [
        (name, words)
        for name, words, _ in images(edition)
        if bool(CHINESE.search(words)) != chinese or len(words) < least
    ]
    assert poor == []


def test_both_editions_show_the_same_figures():
    english, chinese = (
        [address for name, _, address in images(edition) if name.endswith(".ipynb")]
        for edition in ("en", "zh")
    )
    assert english == chinese
    assert {Path(address).stem for address in english} >= set(FIGURES)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_as_its_code_draws_it(name, language):
    path = NOTEBOOKS / language / "figures" / f"{name}.svg"
    assert path.read_text("utf-8") == FIGURES[name](language), "run python -m labutils.figures"


@pytest.mark.parametrize("edition", ["en", "zh"])
def test_every_image_of_the_site_has_words(course_site, edition):
    pages = [*(course_site / edition).glob("*.html")]
    assert len(pages) >= 9
    tags = [(p.name, tag) for p in pages for tag in re.findall(r"<img\b[^>]*>", p.read_text())]
    assert len(tags) > 15
    for name, tag in tags:
        words = re.search(r'\balt="([^"]*)"', tag)
        assert words and len(words[1]) > 3 and "_images/" not in words[1], (name, tag[:200])
        assert bool(CHINESE.search(words[1])) == (edition == "zh"), (name, words[1])
