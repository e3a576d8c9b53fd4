"""The committed lessons keep every rule, in both editions, and the glossary is sound."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from labutils import notebooks
from labutils.notebook_checks import check, read_glossary, terms_in
from labutils.notebooks import CHINESE, EDITIONS, ENGLISH
from labutils.paths import NOTEBOOKS

LESSONS = notebooks.lessons()
BEGINNING = {
    ENGLISH: ("**Afterwards you can** ", "**Time** about ", "**Needs** "),
    CHINESE: ("**学完之后你能够**：", "**用时** 约 ", "**需要** "),
}
END = {
    ENGLISH: ("## Check yourself\n", "<details><summary>Answers</summary>", "**Next:** "),
    CHINESE: ("## 自测\n", "<details><summary>答案</summary>", "**接下来：** "),
}
HAN = "\u4e00-\u9fff"
NO_PROSE = re.compile(r"(?ms)^```.*?^```|`[^`\n]+`|\$\$.*?\$\$|(?<=\])\([^)]*\)|<[^>]+>")
UNTIDY = {
    "no space between Chinese and Latin": rf"[{HAN}][A-Za-z0-9]|[A-Za-z0-9%][{HAN}]",
    "a half-width mark beside Chinese": rf"[{HAN}] ?[,;:?!()]|[,;:?!()] ?[{HAN}]|[{HAN}]\.",
    "a space before a percent sign": r"\d %",
    "a space beside a full-width mark": r"(?<![*|\n]) [，。；：？！、]",
}


def names(edition: str) -> set[str]:
    return {path.name for path in (NOTEBOOKS / edition).glob("*.ipynb")}


def texts(edition: str, stem: str) -> list[str]:
    cells = notebooks.read(NOTEBOOKS / edition / f"{stem}.ipynb").cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def guides(edition: str) -> dict[str, str]:
    folder = NOTEBOOKS / edition / "guides"
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.md"))}


def test_every_lesson_has_both_editions() -> None:
    assert names(ENGLISH) == names(CHINESE)


@pytest.mark.skipif(not any(map(names, EDITIONS)), reason="no lesson is committed yet")
def test_lessons_keep_every_rule() -> None:
    findings = check()
    assert not findings, "\n" + "\n".join(map(str, findings))


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("stem", LESSONS)
def test_a_lesson_says_what_it_is_for_and_ends_with_a_check_and_the_next(edition, stem) -> None:
    first, *_, last = texts(edition, stem)
    for words in BEGINNING[edition]:
        assert words in first
    for words in END[edition]:
        assert words in last
    asked, answered = last.split("<details>")
    assert asked.count("\n- ") == answered.count("\n- ") >= 4


def test_glossary_has_each_term_once_and_enough_of_them() -> None:
    terms = read_glossary()
    ways = Counter(word.lower() for term in terms for word in term.english)
    assert len(terms) >= 80
    assert [word for word, count in ways.items() if count > 1] == []


def test_every_term_of_the_glossary_occurs_in_a_lesson() -> None:
    terms = read_glossary()
    cells = [text for stem in LESSONS for text in texts(ENGLISH, stem)]
    met = {term for text in cells for term in terms_in(text, terms)}
    assert [term.english[0] for term in terms if term not in met] == []


def chinese_texts() -> Iterator[tuple[str, str]]:
    for stem in LESSONS:
        yield from ((stem, text) for text in texts(CHINESE, stem))
    yield from guides(CHINESE).items()


@pytest.mark.parametrize("what", UNTIDY)
def test_chinese_is_set_as_chinese(what) -> None:
    for place, text in chinese_texts():
        plain = NO_PROSE.sub(lambda m: "Q" * m[0].startswith("`"), text).replace("*", "")
        found = re.search(rf".{{0,12}}(?:{UNTIDY[what]}).{{0,12}}", plain)
        assert not found, f"{place}: {what}: {found[0]!r}"


def outline(text: str) -> list[str]:
    """What both editions of a guide share: heading levels, rows and code, without the words."""
    lines = [re.match(r"#+|\||```\w*|", line)[0] for line in text.splitlines()]
    return [each for each in lines if each]


def test_guides_say_the_same_in_both_editions() -> None:
    english, chinese = guides(ENGLISH), guides(CHINESE)
    assert list(english) == list(chinese) != []
    for name, text in english.items():
        assert outline(text) == outline(chinese[name]), name


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the course's site make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    return re.findall(r"(?<!!)\[[^\]]+\]\((?!https?:)([^)]+)\)", text)


@pytest.mark.parametrize("edition", EDITIONS)
def test_links_between_lessons_and_guides_lead_somewhere(edition) -> None:
    pages = {Path(edition, "guides", name): text for name, text in guides(edition).items()}
    pages |= {Path(edition, f"{s}.ipynb"): "\n".join(texts(edition, s)) for s in LESSONS}
    for page, text in pages.items():
        for link in links(text):
            file, _, anchor = link.partition("#")
            target = NOTEBOOKS / page.parent / file if file else NOTEBOOKS / page
            assert target.is_file(), f"{page}: {link}"
            headings = re.findall(r"(?m)^#+ (.+)$", target.read_text("utf-8")) if anchor else []
            assert not anchor or anchor in map(slug, headings), f"{page}: {link}"
