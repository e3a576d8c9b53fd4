"""The report holds all figures, needs nothing from outside, and shows foreign text as text."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from ladder_results import answers, failed, result, shifted, summary

from labutils.ladder.decide import decide
from labutils.ladder.decision import Thresholds
from labutils.ladder.pareto import Point, front, plot
from labutils.ladder.report import interval, render, shown, write
from labutils.ladder.results import Figure
from labutils.ladder.summary import summarise

HOSTILE = '<script>alert(1)</script> & "quoted" {{ 7 * 7 }} 香蕉'
SPOKEN = tuple(
    replace(answer, reply=HOSTILE, question=HOSTILE) if n == 0 else answer
    for n, answer in enumerate(shifted(lost=3, gained=2))
)
ASKED = (replace(answers()[0], question=HOSTILE), *answers()[1:])
FULL = summary(
    baseline=ASKED,
    kv_int8=SPOKEN,
    kv_int4=failed("kv-int4", "crashed", "Abort <in> head_dim & more"),
    w4a16=shifted(lost=60, gained=4),
)


class Parsed(HTMLParser):
    """Which tags a page has, with their attributes, and whether they are closed in order."""

    VOID = {"meta", "img", "br"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_well_formed_and_needs_nothing_from_outside(language):
    page = Parsed(render(FULL, language))
    assert page.open == []
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    sources = [about[name] for _, about in page.tags for name in ("src", "href") if name in about]
    assert len(sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "url(" not in render(FULL, language)


def test_text_of_models_and_engines_is_shown_as_text():
    page = render(FULL)
    assert "<script>" not in page and "{{ 7 * 7 }}" in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;quoted&#34;") >= 2
    assert "Abort &lt;in&gt; head_dim &amp; more" in page


@pytest.mark.parametrize(
    ("language", "lang", "decision"),
    [("en", "en", "Go back one step and use KV int8"), ("zh", "zh-CN", "退回上一步，使用 KV int8")],
)
def test_it_says_the_decision_and_names_every_flip(language, lang, decision):
    page = render(FULL, language)
    assert f'<html lang="{lang}">' in page and decision in page
    for entry in FULL.rungs[1:]:
        for flip in entry.quality.flips if entry.quality else ():
            assert f"<h3>{flip.id} · {flip.category}" in page
    for fact in ("2 × made up", "0.18.0", "a" * 64, "lab ladder run", FULL.rungs[0].fingerprint):
        assert fact in page


def test_every_figure_is_marked_measured_predicted_or_published():
    published = Figure(63.9, "", "published", source="kv_quant.md, v0.4.0")
    with_source = result(
        "kv-int8", quality=replace(result("kv-int8").quality, perplexity=published)
    )
    page = render(summary(kv_int8=with_source))
    assert 'title="measured here">m</sup>' in page
    assert 'title="predicted by arithmetic">p</sup>' in page
    assert 'title="published: kv_quant.md, v0.4.0">s</sup>' in page
    for cells in re.findall(r'<span class="value">(.*?)</span>', page):
        assert re.search(r'<sup class="mark" title="[^"]+">[mps]</sup>$', cells)


def test_plots_have_words_for_who_cannot_see_and_text_that_stays_text():
    page = Parsed(render(FULL))
    images = [about for tag, about in page.tags if tag == "img"]
    assert "W4A16: 280 MiB, -14" in images[0]["alt"]
    for image in images:
        svg = base64.b64decode(image["src"].partition(",")[2])
        texts = [
            t.text for t in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
        ]
        assert {"weights + KV cache, MiB", "W4A16 + KV int8", "chosen"} <= set(texts)


def test_the_same_figures_give_the_same_file(tmp_path):
    write(tmp_path / "report.html", FULL)
    assert (tmp_path / "report.html").read_text("utf-8") == render(FULL)


@pytest.mark.parametrize(
    "few",
    [
        summarise([failed("baseline", "timeout")]),
        summarise([result("baseline")]),
        summarise([result("baseline", speed=(), predicted=None), failed("kv-int8")]),
        summarise([result("baseline", memory=None), result("kv-int8", memory=None, speed=())]),
        summarise(
            [result("baseline", answers(range(400))), result("kv-int8", answers(range(400)))]
        ),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_was_not_measured_is_left_out(few, language):
    assert Parsed(render(few, language)).open == []


def test_all_thresholds_are_named():
    asked = Thresholds(0.05, 0.9, 4096, 300 * 2**20, 0.1, 4, 0.5)
    page = render(replace(FULL, decision=decide(FULL, asked)))
    for words in ("5.0 points", "90 %", "4,096 tokens", "300 MiB", "100.0 ms", "at least 50.0 %"):
        assert words in page


@pytest.mark.parametrize(
    ("figure", "signed", "value", "ends"),
    [
        (Figure(0.612, "share", low=0.5, high=0.7), False, "61.2 %", "[50.0, 70.0]"),
        (Figure(-0.02, "share", low=-0.049, high=0.009), True, "−2.0", "[−4.9, +0.9]"),
        (Figure(0.0412, "seconds"), False, "41.2 ms", ""),
        (Figure(1.5, "seconds"), False, "1.50 s", ""),
        (Figure(4.79 * 2**30, "bytes"), False, "4.79 GiB", ""),
        (Figure(12240, "bytes"), False, "11.95 KiB", ""),
        (Figure(12, "bytes"), False, "12 bytes", ""),
        (Figure(8192, "tokens"), False, "8,192", ""),
        (Figure(20.04, "tokens/s"), False, "20.0", ""),
        (Figure(0.00412, "nats"), False, "0.00412", ""),
    ],
)
def test_figures_are_shown_in_the_unit_that_reads_best(figure, signed, value, ends):
    assert (shown(figure, signed), interval(figure, signed)) == (value, ends)


def test_the_front_holds_what_no_other_beats():
    small, middle, large = (Point("w4a16", 1, 1), Point("kv-int8", 2, 1), Point("baseline", 3, 5))
    assert front([large, middle, small], more_is_better=True) == [small, large]
    assert front([large, middle, small], more_is_better=False) == [small]


def test_a_plot_does_without_intervals_limit_and_choice():
    assert plot([Point("baseline", 1, 1)], "x", True).startswith("<?xml")
