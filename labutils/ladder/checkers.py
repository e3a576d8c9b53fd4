"""Whether a reply is right: five rules of text, and what each asks of an item's answers.

A rule looks at the reply alone, so the same reply gets the same verdict everywhere. What it cannot
see: negation ("not Paris" contains Paris), number words, synonyms that the answers do not list.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

LETTERS = "ABCDEF"
Texts = tuple[str, ...]

_WORD = "0-9A-Za-zÀ-ɏ"
"""Of a word in Latin script; Chinese writes no spaces between words."""
_QUOTES = "\"'`*“”‘’«»「」『』《》"
_ENDS = ".,;:!?…。，、；：！？"
_GAP = r"\W{0,9}"  # bounded: three unbounded ones in a row are cubic in a row of dots
_ANSWER = (
    rf"(?:(?i:answer){_GAP}?(?:(?i:is)\b|:)|答案{_GAP}(?:应该是|[是为])?){_GAP}"
    rf"(?i:option|choice|选项?)?{_GAP}"
)
_OPTION = rf"(?i:option|choice|选项?|选择){_GAP}"
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
del _FULL_WIDTH[ord("，")]  # it stands between the numbers of a list, never within one
_NUMBER = re.compile(
    rf"(?<![{_WORD}])(?:(?<!\))-)?"  # neither the 2 of H2O nor the minus of 7-4
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Checker:
    """One rule: who is right, and what is wrong with answers that cannot be checked by it."""

    right: Callable[[str, Texts, Texts], bool]
    """Of a reply, the answers and the choices."""
    problem: Callable[[Texts, Texts], str | None]
    """One sentence about the answers and the choices, None when they will do."""


def chosen(reply: str, choices: Texts) -> str | None:
    """The letter that a reply chooses, None when it names none or several.

    In this order: the text of one choice and nothing else; the letter after "answer is"; a letter
    that the reply begins with; the letter after "option"; the only letter that stands alone. The
    article "A" and small letters without a bracket or a stop behind them are no choice.
    """
    reply = _plain(reply)
    for letter, choice in zip(LETTERS, choices, strict=False):
        if _bare(reply) == _bare(choice) and _bare(reply).upper() not in set(LETTERS):
            return letter
    alone = _alone(LETTERS[: len(choices)])
    only = rf"{alone}(?!\s*(?:[,/、和或]|or\b|and\b)\s*{alone})"
    for before in (rf".*?{_ANSWER}", r"\W*", rf".*?{_OPTION}"):
        if found := re.match(before + only, reply, re.DOTALL):
            return (found[1] or found[2]).upper()
    all_alone = {"".join(pair).upper() for pair in re.findall(alone, reply)}
    return all_alone.pop() if len(all_alone) == 1 else None


def _alone(letters: str) -> str:
    """A pattern of one of the letters on its own; a capital is group 1, a small one group 2."""
    article = r"(?<=A) (?!(?:is|because|and|or)\b)[a-z]"
    return (
        rf"(?<![{_WORD}])(?:([{letters}])(?![{_WORD}'’])(?!{article})"
        rf"|([{letters.lower()}])(?!['’]\w)(?=\s*(?:[){_QUOTES}{_ENDS}]|$)))"
    )


def numbers(reply: str) -> list[Decimal]:
    """The numbers in a reply, in its order; 1,200 and １２００ are 1200, "twelve" is none."""
    return [Decimal(found.replace(",", "")) for found in _NUMBER.findall(_plain(reply))]


def _right_choice(reply: str, answers: Texts, choices: Texts) -> bool:
    return chosen(reply, choices) in answers


def _right_number(reply: str, answers: Texts, choices: Texts) -> bool:
    return numbers(reply)[-1:] in [numbers(answer) for answer in answers]


def _contains(reply: str, answers: Texts, choices: Texts) -> bool:
    text = _plain(reply).casefold()
    return any(re.search(_whole(_plain(answer).casefold()), text) for answer in answers)


def _is_exactly(reply: str, answers: Texts, choices: Texts) -> bool:
    return _bare(reply) in [_bare(answer) for answer in answers]


def _matches(reply: str, answers: Texts, choices: Texts) -> bool:
    return any(re.fullmatch(pattern, reply.strip()) for pattern in answers)


def _plain(text: str) -> str:
    """The text with composed accents, half-width letters and digits, and one kind of minus."""
    return unicodedata.normalize("NFC", text).translate(_FULL_WIDTH).replace("−", "-")


def _bare(text: str) -> str:
    """The text without case, surrounding space, quotes and emphasis, and final punctuation."""
    return _plain(text).casefold().strip().lstrip(_QUOTES).rstrip(_QUOTES + _ENDS + " \n\t")


def _whole(answer: str) -> str:
    """A pattern that finds the answer, not as a part of a longer word in Latin script."""
    before = rf"(?<![{_WORD}])" if re.match(rf"[{_WORD}]", answer) else ""
    after = rf"(?![{_WORD}])" if re.search(rf"[{_WORD}]\Z", answer) else ""
    return before + re.escape(answer) + after


def _no_choice(answers: Texts, choices: Texts) -> str | None:
    count = len(choices)
    if not 2 <= count <= len(LETTERS):
        return f"there are {count} choices: it takes 2 to {len(LETTERS)}."
    if len({_bare(choice) for choice in choices}) < count:
        return "two of the choices are the same."
    if len(answers) != 1 or answers[0] not in tuple(LETTERS[:count]):
        return f"the answer of a choice is one letter from A to {LETTERS[count - 1]}."
    return None


def _no_number(answers: Texts, choices: Texts) -> str | None:
    wrong = [answer for answer in answers if not _NUMBER.fullmatch(_plain(answer))]
    return f"the answer {wrong[0]!r} is no number such as 12 or -0.5." if wrong else None


def _no_text(answers: Texts, choices: Texts) -> str | None:
    wrong = [answer for answer in answers if not _bare(answer)]
    return f"the answer {wrong[0]!r} has no letter or digit to look for." if wrong else None


def _no_pattern(answers: Texts, choices: Texts) -> str | None:
    for pattern in answers:
        try:
            re.compile(pattern)
        except re.error as error:
            return f"the answer {pattern!r} is no regular expression: {error}."
    return None


CHECKERS = {
    "choice": Checker(_right_choice, _no_choice),
    "number": Checker(_right_number, _no_number),
    "contains": Checker(_contains, _no_text),
    "exact": Checker(_is_exactly, _no_text),
    "regex": Checker(_matches, _no_pattern),
}
