"""Every file of items in data/eval: well-formed, varied, and without a hint at the answers."""

import itertools
import re
from collections import Counter, defaultdict

import pytest

from labutils.ladder.items import Item, is_right, parse, prompt, read
from labutils.paths import DATA

FILES = sorted((DATA / "eval").glob("*.jsonl"))
ITEMS = {path.stem: read(path) for path in FILES}
ALL = [item for items in ITEMS.values() for item in items]
CATEGORIES = ("knowledge", "arithmetic", "reading", "instruction", "counselling")


SAMPLES = {  # of each regex item: a reply that does as asked, and one that almost does
    "en-inst-001": ("apple\npear\nfig", "apple, pear, fig"),
    "en-inst-002": ("1. cat\n2. dog\n3. cow\n4. pig", "1. cat\n2. dog\n3. cow"),
    "en-inst-003": ("1. tea\n2. milk\n3. water", "- tea\n- milk\n- water"),
    "en-inst-004": ("1. **red**\n2. **blue**", "red\nblue"),
    "en-inst-005": ("1) Peru\n2) Mali\n3) Laos", "Peru\nMali\nLaos"),
    "en-inst-006": ("1. saw\n2. axe\n3. file", "Three tools:\nsaw\naxe\nfile"),
    "en-inst-007": ("1. Owl\n\n2. Crow\n\n3. Swan", "1. Owl 2. Crow 3. Swan"),
    "en-inst-008": ("- peas\n- leek\n- beet", "1. peas\n2. leek\n3. beet"),
    "en-inst-009": ("1, 2, 3, 4, 5", "1 2 3 4 5"),
    "en-inst-010": ("A, E, I, O, and U.", "A E I O U"),
    "en-inst-011": ("10, 20, 30", "10, 30, 20"),
    "en-inst-012": ("A, B, C, D", "A to D"),
    "en-inst-013": ("Oslo, Rome, Lima", "1. Oslo\n2. Rome\n3. Lima"),
    "en-inst-014": ("Tomorrow I will rest.", "I will rest tomorrow."),
    "en-inst-015": ("My dog sleeps.", "The dog sleeps."),
    "en-inst-016": ("Because the sun burns.", "They do it because of the sun."),
    "en-inst-017": ("Dear Anna,\nthank you!", "Hello Anna, thank you!"),
    "en-inst-018": ("Rain falls from clouds.", "It falls from clouds: rain."),
    "en-inst-019": ("No, they have no wings.", "They have no wings."),
    "en-inst-020": ("Today it rained.", "Dear diary, today it rained."),
    "en-inst-021": ("The old man opened the door and smiled.", "and smiled."),
    "en-inst-023": ("A stone lies in the river.", "Stones lie in the river."),
    "en-inst-028": ("The sky is wide and without a cloud.", "The sky is wide and blue."),
    "en-inst-029": ("What do you eat?", "What do you eat? I eat rice."),
    "en-inst-030": ("Is the bread fresh?", "The bread is fresh."),
    "en-inst-031": ("Do you like tea?", "You like tea."),
    "en-inst-032": ("Summer is here!", "Summer is here."),
    "en-inst-033": ("Where is the station, please?", "You say: hello. Where is it?"),
    "en-inst-034": ("No.", "No, I do not."),
    "en-inst-037": ("Dear Sir, I write to you.", "Sir, I write to you."),
    "en-inst-038": ("tea", "I prefer tea"),
    "en-inst-041": ("Yesterday it rained.", "It rained yesterday."),
    "en-inst-050": ("RIVER", "River"),
    "en-inst-051": ("good luck", "Good luck"),
    "en-inst-052": ("[apple]", "(apple)"),
    "en-inst-053": ("s-u-n", "s u n"),
    "en-inst-058": ('{"name": "Ada"}', '{"key": "Ada"}'),
    "en-inst-061": ("I'm well, thanks.", "I am very well, thanks."),
    "en-inst-062": ("The king has a horse.", "The king has horses."),
    "en-inst-064": ("White and cold. Done.", "I have done it: cold."),
    "en-inst-066": ("Smoke filled the kitchen.", "The kitchen is full of steam."),
    "en-inst-067": ("Dear Mr Hill, may I stay at home?", "Mr Hill, may I stay at home?"),
    "en-inst-071": ("Once upon a time, a fox sang.", "A fox once sang."),
    "zh-inst-002": ("马到成功", "马到"),
    "zh-inst-003": ("wednesday", "Wednesday"),
    "zh-inst-005": ("苹果、梨、葡萄", "苹果，梨，葡萄"),
    "zh-inst-007": ('{"name": "小雨", "age": 9}', '{"name": "小雨", "age": "9"}'),
    "zh-inst-010": ("春风吹绿小山村", "春风吹绿山村"),
    "zh-inst-011": ("今天辛苦了，好好休息。晚安。", "晚安，今天辛苦了。"),
    "zh-inst-016": ("大海一望无际，浪花拍打沙滩。", "蓝色的大海一望无际，非常美。"),
    "zh-inst-017": ("【例会改至下周一】", "通知：【例会改至下周一】"),
    "zh-inst-018": ("1. 烧水\n2. 放茶叶\n3. 冲泡", "1. 烧水 2. 放茶叶 3. 冲泡"),
    "zh-inst-019": ("因为下雨，所以我没出门。", "我没出门，因为下雨。"),
    "zh-inst-024": ("GSLS", "gsls"),
    "zh-inst-029": ("明月照窗前\n清风入梦来", "明月照窗前清风入梦来"),
    "zh-inst-030": ("**重点**", "*重点*"),
}


def grams(item: Item) -> set[tuple[str, ...]]:
    """5-grams of what is asked: of words in English, of characters in Chinese."""
    text = " ".join([item.question, *item.choices]).casefold()
    units = re.findall(r"\w" if item.language == "zh" else r"[\w'-]+", text)
    return {tuple(units[i : i + 5]) for i in range(max(1, len(units) - 4))}


def test_there_are_enough_items_of_each_kind():
    assert len(ALL) >= 400
    assert len({item.id for item in ALL}) == len(ALL)
    english = Counter(item.category for item in ITEMS["english"])
    assert set(english) == set(CATEGORIES[:4]) and min(english.values()) >= 60
    chinese = Counter(item.category for item in ITEMS["chinese"])
    assert set(chinese) == set(CATEGORIES) and min(chinese.values()) >= 30


def test_the_examples_of_the_readme_are_items():
    lines = (DATA / "eval" / "README.md").read_text(encoding="utf-8").splitlines()
    examples = [parse(line) for line in lines if line.startswith("{")]
    assert len(examples) == 2 and all(example in ALL for example in examples)


def test_an_id_says_language_and_category():
    for item in ALL:
        assert re.fullmatch(rf"{item.language}-{item.category[:4]}-\d{{3}}", item.id)


def test_no_two_items_share_half_their_5_grams():
    """Half of those of the shorter one, which is stricter than half of both together."""
    known = [(item.id, grams(item)) for item in ALL]
    for (one, a), (other, b) in itertools.combinations(known, 2):
        assert 2 * len(a & b) < min(len(a), len(b)), f"{one} and {other} share too much"


@pytest.mark.parametrize("name", ITEMS)
def test_no_letter_is_the_right_one_more_often(name):
    letters = defaultdict(Counter)
    for item in ITEMS[name]:
        if item.checker == "choice":
            letters[item.category, len(item.choices)].update(item.answers)
    for (category, count), found in letters.items():
        assert len(found) == count, category
        assert max(found.values()) - min(found.values()) <= 1, (category, found)


@pytest.mark.parametrize("name", ITEMS)
def test_the_right_option_is_not_known_by_its_length(name):
    """Whoever always takes the longest or the shortest option gets under half of them right."""
    items = [item for item in ITEMS[name] if item.checker == "choice"]
    for pick in (max, min):
        picked = ["ABCDEF"[item.choices.index(pick(item.choices, key=len))] for item in items]
        hits = sum(letter in item.answers for letter, item in zip(picked, items, strict=True))
        assert hits < len(items) / 2


def test_the_answer_itself_is_right_and_silence_is_not():
    for item in ALL:
        if item.checker != "regex":
            assert all(is_right(item, answer) for answer in item.answers), item.id
        assert not is_right(item, ""), item.id


def test_each_regex_item_tells_a_right_reply_from_one_that_is_almost_right():
    regex = {item.id: item for item in ALL if item.checker == "regex"}
    assert set(SAMPLES) == set(regex)
    for name, (good, almost) in SAMPLES.items():
        assert is_right(regex[name], good) and not is_right(regex[name], almost), name


def test_whoever_repeats_the_question_is_not_right():
    """But for a passage that holds the answer and for a word that a reply must hold."""
    for item in ALL:
        if item.category in ("knowledge", "arithmetic") or item.checker in ("exact", "choice"):
            assert not is_right(item, prompt(item)), item.id


def test_the_answer_to_a_reading_item_stands_in_its_passage_or_follows_from_it():
    """At least four fifths of them can be looked up."""
    for items in ITEMS.values():
        reading = [item for item in items if item.category == "reading"]
        there = [
            any(a.casefold() in item.question.casefold() for a in item.answers) for item in reading
        ]
        assert sum(there) >= 0.8 * len(reading)
