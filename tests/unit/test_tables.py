"""The tables that are made from data: where they stand, they say what was measured."""

import json
import re

import pytest

from labutils import claims, measured, notebooks, tables
from labutils.errors import LabError
from labutils.paths import NOTEBOOKS, ROOT

LANGUAGES = ("en", "zh")
WHOLE = measured.RESULTS / "nvidia-h200" / "gpu-bench-internlm2-chat-7b-random-whole.json"


def places(language: str) -> dict[str, str]:
    """Every text of a language in which tables stand, by where it is."""
    found = {tables.READMES[language].name: tables.READMES[language].read_text("utf-8")}
    for stem in notebooks.lessons():
        for cell in notebooks.read(NOTEBOOKS / language / f"{stem}.ipynb").cells:
            if cell.cell_type == "markdown":
                found[f"{stem}:{cell.id}"] = cell.source
    return {where: text for where, text in found.items() if tables.names(text)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_table_equals_its_data(language):
    """Otherwise: python -m labutils.tables."""
    shown = places(language)
    assert {name for text in shown.values() for name in tables.names(text)} == set(tables.TABLES)
    for where, text in shown.items():
        assert tables.renewed(text, language) == text, where


def test_both_languages_have_the_same_tables_in_the_same_places():
    one, other = (
        {where.partition(".")[0]: tables.names(text) for where, text in places(each).items()}
        for each in LANGUAGES
    )
    assert one == other


def numbers(text: str) -> list[str]:
    return [each.replace(",", "") for each in re.findall(r"\d[\d,.]*\d|\d", text)]


@pytest.mark.parametrize("name", sorted(set(tables.TABLES) - {"claims"}))
def test_both_languages_show_the_same_figures(name):
    assert numbers(tables.TABLES[name]("en")) == numbers(tables.TABLES[name]("zh"))


@pytest.mark.parametrize("claim", claims.claims()["claims"], ids=lambda claim: claim["id"])
@pytest.mark.parametrize("part", ["published", "measured"])
def test_both_languages_claim_the_same_figures(claim, part):
    """In whatever order the sentence has them."""
    one, other = (claim[part][each].format(**claims.figures()) for each in LANGUAGES)
    assert sorted(numbers(one)) == sorted(numbers(other))


def test_claims_come_from_what_was_measured():
    """Three of them by hand, straight from the file."""
    runs = {(run["weights"], run["kv"]): run for run in json.loads(WHOLE.read_text())["runs"]}
    half, four = runs["fp16", "none"], runs["w4a16", "none"]
    speed = [run["loads"][0]["decode_tok_s"] for run in (four, half)]
    assert f"{speed[0] / speed[1]:.2f} times for 1 request" in claims.table("en")
    size = [run["memory"]["weight_bytes"] for run in (four, half)]
    assert f"{size[0] / size[1]:.0%} of fp16's bytes" in claims.table("en")
    assert f"{runs['fp16', 'int4']['memory']['kv_tokens']:,} 个词元" in claims.table("zh")


def test_the_formula_of_the_claims_gives_their_percentages():
    for bits, name in ((8, "bytes_8"), (4, "bytes_4")):
        assert claims.figures()[name] == (128 * bits / 8 + 4) / (2 * 128)


def test_every_claim_is_whole_and_no_figure_is_left_over():
    for claim in claims.claims()["claims"]:
        for part in ("claim", "source", "published", "measured", "verdict"):
            assert set(claim[part]) == set(LANGUAGES) and all(claim[part].values()), claim["id"]
    text = json.dumps([claim["measured"] for claim in claims.claims()["claims"]])
    used = set(re.findall(r"\{(\w+):", text))
    assert used == set(claims.claims()["figures"])
    for claim in claims.claims()["claims"]:
        assert (
            len({frozenset(re.findall(r"\{(\w+):", text)) for text in claim["measured"].values()})
            == 1
        ), claim["id"]


def test_lesson_06_says_how_much_is_held_before_the_cache():
    """About 6.5 GiB: free before, less what the engine's share says was free for the cache."""
    runs = json.loads(WHOLE.read_text())["runs"]
    held = [
        (run["memory"]["free_before"] - run["memory"]["kv_cache_bytes"] / run["share"]) / 2**30
        for run in runs
        if run["weights"] == "w4a16"
    ]
    assert all(6.4 < gib < 6.7 for gib in held)


def test_nothing_started_in_8_gib():
    files = sorted(WHOLE.parent.glob("gpu-bench-*8gib*.json"))
    runs = [run for file in files for run in json.loads(file.read_text())["runs"]]
    assert len(runs) == 12 and {run["status"] for run in runs} == {"failed"}
    assert all("out of memory" in run["message"] for run in runs)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("runs[weights=fp16].memory", "3 items of .* fit"),
        ("runs[weights=fp8].memory", "0 items of .* fit"),
        ("runs[weights=fp16,kv=none].nothing", "no 'nothing'"),
    ],
)
def test_a_figure_that_is_not_there(where, words):
    with pytest.raises(LabError, match=words):
        measured.figure(f"nvidia-h200/{WHOLE.name}", where)


@pytest.mark.parametrize("text", ["<!-- table: nonsense --><!-- /table -->", "<!-- table: claims"])
def test_a_table_that_is_not_there(text):
    with pytest.raises(LabError):
        tables.renewed(text, "en")


def test_a_table_is_renewed_and_the_words_around_it_stay():
    old = "before\n<!-- table: weights -->\n| old |\n<!-- /table -->\nafter 你好"
    new = tables.renewed(old, "en")
    assert new.startswith("before\n<!-- table: weights -->\n\n| weights |")
    assert new.endswith("\n\n<!-- /table -->\nafter 你好") and "old" not in new
    assert tables.renewed(new, "en") == new


def test_results_that_are_shown_are_files():
    for language in LANGUAGES:
        for text in places(language).values():
            for path in re.findall(r"`(data/results/[^`]+)`", text):
                assert (ROOT / path).exists(), path
