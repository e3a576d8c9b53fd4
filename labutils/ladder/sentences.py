"""Sentences of a decision, from `texts/decision.csv`, with what fills their {placeholders}."""

import re

from labutils import texts
from labutils.ladder.decision import Texts
from labutils.texts import LANGUAGES

_SEAM = re.compile(r"(?<=[一-鿿])(?=[0-9A-Za-z])|(?<=[0-9A-Za-z%])(?=[一-鿿])")
"""Where Chinese meets a Latin word or a number, and wants a space."""


def say(key: str, **fields: str | int | Texts) -> Texts:
    """The sentence in every language; a field may differ between them."""
    found = {
        language: sentence.format(
            **{n: v[language] if isinstance(v, dict) else v for n, v in fields.items()}
        )
        for language, sentence in texts.read("decision")[key].items()
    }
    return found | {"zh": _SEAM.sub(" ", found["zh"])}


def paragraph(*sentences: Texts) -> Texts:
    """Sentences one after the other."""
    spaces = {"en": " ", "zh": ""}
    return {lang: spaces[lang].join(each[lang] for each in sentences) for lang in LANGUAGES}


def points(share: float) -> str:
    """0.0312 as '3.1'."""
    return f"{100 * share:.1f}"


def p_value(p: float) -> str:
    """0.0312 as 'p = 0.031', and 'p < 0.001' below that."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def size(count: float) -> str:
    """Bytes as '436 MiB' or '4.79 GiB'."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
