"""Replies as models write them, and the verdict of each rule."""

from decimal import Decimal

import pytest

from labutils.ladder.checkers import CHECKERS, chosen, numbers

CITIES = ("Rome", "Paris", "a large town", "Oslo")


def right(checker: str, reply: str, *answers: str, choices: tuple[str, ...] = ()) -> bool:
    assert CHECKERS[checker].problem(answers, choices) is None
    return CHECKERS[checker].right(reply, answers, choices)


@pytest.mark.parametrize(
    "reply",
    [
        *"B|b| B\n|B.|b)|(b)|(B) Paris|b) because it is|B: Paris|[B]|B!|**B**|`b`|“B”|B 😊".split(
            "|"
        ),
        *"**B. Paris**|Ｂ|（Ｂ）|Ｂ．Paris|😀 B!|The answer is B.|The correct answer is (b).".split(
            "|"
        ),
        *"Answer: B|answer:\nB|ANSWER IS B|Option B is right|I choose option b.|It is B!".split(
            "|"
        ),
        *"B is right because A is wrong.|The answer is B, as A and C are in Italy.".split("|"),
        *"答案是B。|答案：Ｂ|正确答案为（B）|选B|我选择B，因为……|B、Paris|应该是 B。".split("|"),
        *"Paris|paris.| “Paris” |**Paris**|A good question: answer B|Answer B".split("|"),
        *"B\n\nA is in Italy.|A. Rome\n\nThe answer is B. Paris|A？答案应该是B".split("|"),
    ],
)
def test_the_letter_that_a_reply_chooses(reply):
    assert chosen(reply, CITIES) == "B"


@pytest.mark.parametrize(
    "reply",
    [
        *"| |😊|。|E|F.|none|Both A and B|A or B?|A、B|选A和B|I do not know|不知道".split("|"),
        *"A city in France|a nice town|Because|Be careful|d'accord|AB|B2|vitamin B12".split("|"),
        *"the answer is a city|Bern|Rome or Paris|the answer is none of A, B and C".split("|"),
    ],
)
def test_a_reply_that_chooses_nothing(reply):
    assert chosen(reply, CITIES) is None


def test_an_option_of_words_and_the_article_a_are_told_apart():
    assert chosen("A large town", CITIES) == "C"
    assert chosen("A is the right one", CITIES) == "A"
    assert chosen("A: Rome", CITIES) == "A"


def test_an_option_that_is_a_letter_is_chosen_by_its_own_letter():
    assert chosen("B", ("B", "A", "C")) == "B"
    assert chosen("b flat", ("a sharp", "d flat", "b flat")) == "C"


def test_letters_beyond_the_choices_are_words():
    assert chosen("Plan E: B", CITIES) == "B"
    assert chosen("C", CITIES[:2]) is None


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("", []),
        ("twelve", []),
        ("12", ["12"]),
        ("12.", ["12"]),
        ("12.0", ["12.0"]),
        ("Answer: 1,200", ["1200"]),
        ("1,234,567.5 in all", ["1234567.5"]),
        ("3,4,5", ["3", "4", "5"]),
        ("12,3456", ["12", "3456"]),
        ("-3 °C", ["-3"]),
        ("−3", ["-3"]),
        ("7-4 = 3", ["7", "4", "3"]),
        ("(7)-4", ["7", "4"]),
        ("3–5", ["3", "5"]),
        ("x=-0.5", ["-0.5"]),
        ("$12 or 50%", ["12", "50"]),
        ("H2O, 16 cm²", ["16"]),
        ("１２．５元", ["12.5"]),
        ("100，200", ["100", "200"]),
        ("一共12个。", ["12"]),
        ("**42** 🎉", ["42"]),
        ("No.7", ["7"]),
    ],
)
def test_the_numbers_in_a_reply(reply, found):
    assert numbers(reply) == [Decimal(number) for number in found]


def test_the_last_number_counts():
    assert right("number", "17 + 25 = 42", "42")
    assert right("number", "It costs 1,200.00 euros.", "1200")
    assert right("number", "答案是：１２。", "12.0")
    assert not right("number", "42 is 17 + 25", "42")
    assert not right("number", "", "42") and not right("number", "forty-two", "42")


@pytest.mark.parametrize(
    ("reply", "answer", "verdict"),
    [
        ("It is PARIS!", "Paris", True),
        ("_Paris_ 😊", "Paris", True),
        ("Paris’s river", "Paris", True),
        ("答案是Paris。", "Paris", True),
        ("Ｐａｒｉｓ", "Paris", True),
        ("comparison", "Paris", False),
        ("Parisian", "Paris", False),
        ("", "Paris", False),
        ("two words: carbon dioxide", "carbon dioxide", True),
        ("carbon  dioxide", "carbon dioxide", False),
        ("首都是北京市。", "北京", True),
        ("北 京", "北京", False),
        ("Sa\u0303o Paulo", "S\u00e3o", True),
        ("São", "Sa", False),
        ("16 or 160", "60", False),
        ("C++", "c++", True),
        ("cost: 5 €", "5 €", True),
    ],
)
def test_contains_looks_for_whole_words_in_latin_script(reply, answer, verdict):
    assert right("contains", reply, answer) is verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        *[(reply, True) for reply in 'blue|Blue.| "Blue." |**blue**|「blue」。|BLUE！'.split("|")],
        *[(reply, False) for reply in "|blue sky|It is blue|blues|😊 blue|b lue".split("|")],
    ],
)
def test_exact_forgives_case_quotes_and_the_last_stop(reply, verdict):
    assert right("exact", reply, "red", "blue") is verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        *[(reply, True) for reply in ("ABC", " ABC\n")],
        *[(reply, False) for reply in ("", "abc", "ABCD", "ABC.", "ＡＢＣ")],
    ],
)
def test_regex_matches_the_whole_reply_as_it_stands(reply, verdict):
    assert right("regex", reply, "[A-Z]{3}", "never") is verdict


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize(
    "reply", [*"| |\n|\x00|…|🙂🙂|«»|（）|\\|？".split("|"), "A" * 9999, "answer" + ":" * 9999]
)
def test_no_odd_reply_is_right_or_breaks_a_rule(checker, reply):
    answers = {"choice": ("B",), "number": ("12",)}.get(checker, ("Oslo",))
    assert not right(checker, reply, *answers, choices=CITIES if checker == "choice" else ())
