"""The committed lessons keep every rule, in both editions, and the glossary is sound."""

from collections import Counter

import pytest

from labutils.notebook_checks import check, read_glossary
from labutils.notebooks import CHINESE, EDITIONS, ENGLISH
from labutils.paths import NOTEBOOKS


def names(edition: str) -> set[str]:
    return {path.name for path in (NOTEBOOKS / edition).glob("*.ipynb")}


def test_every_lesson_has_both_editions() -> None:
    assert names(ENGLISH) == names(CHINESE)


@pytest.mark.skipif(not any(map(names, EDITIONS)), reason="no lesson is committed yet")
def test_lessons_keep_every_rule() -> None:
    findings = check()
    assert not findings, "\n" + "\n".join(map(str, findings))


def test_glossary_has_each_term_once() -> None:
    terms = read_glossary()
    ways = Counter(word.lower() for term in terms for word in term.english)
    assert len(terms) >= 40
    assert [word for word, count in ways.items() if count > 1] == []
