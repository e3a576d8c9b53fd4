"""The course's site in a browser: it fits a phone, leads through its pages and asks for nothing."""

import pytest

from labutils.notebooks import lessons
from labutils.paths import NOTEBOOKS

CROWDED = """() => {
  const box = element => element.getBBox();
  const meets = (a, b, by) => a.x < b.x + b.width - by && b.x < a.x + a.width - by
    && a.y < b.y + b.height - by && b.y < a.y + a.height - by;
  const within = (a, b) => b.x <= a.x && a.x + a.width <= b.x + b.width
    && b.y <= a.y + 2 && a.y + a.height <= b.y + b.height + 2;
  const texts = [...document.querySelectorAll("text")];
  const rects = [...document.querySelectorAll("rect")].map(box);
  return texts.filter((text, n) =>
    texts.slice(n + 1).some(other => meets(box(text), box(other), 3))
    || rects.some(rect => meets(box(text), rect, 0) && !within(box(text), rect))
  ).map(text => text.textContent);
}"""

# What reaches past the column of text, by more than the half rem that the theme grants headings,
# though no box around it scrolls. The page's own width says nothing: the theme clips it.
PROTRUDING = """() => {
  const article = document.querySelector("[role=main]") || document.body;
  const edge = article.getBoundingClientRect().right + 8;
  const range = document.createRange();
  const scrolls = box => box !== article
    && (["auto", "scroll"].includes(getComputedStyle(box).overflowX) || scrolls(box.parentElement));
  const right = node => {
    range.selectNodeContents(node);
    return (node instanceof Element ? node : range).getBoundingClientRect().right;
  };
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (right(node) > edge && !scrolls(node.parentElement))
      found.push(node.nodeName + " " + node.textContent.trim().slice(0, 60));
  }
  return found;
}"""
WORD = "W" * 200


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_the_screen_and_stays_by_itself(page, course_site, width):
    page.set_viewport_size({"width": width, "height": 900})
    for path in sorted(course_site.rglob("*.html")):
        page.goto(path.as_uri())
        page.wait_for_function("[...document.images].every(image => image.complete)")
        assert page.evaluate(PROTRUDING) == [], path
        assert page.evaluate("[...document.images].every(image => image.naturalWidth)"), path
    assert [each for each in page.asked if not each.startswith(("file:", "data:"))] == []


def test_what_a_reader_cannot_reach_is_found(page, course_site):
    lost = [
        f"<table><tr><td>{WORD}</td></tr></table>",
        f"<p style='white-space: nowrap'>{WORD}</p>",
        f"<div style='overflow: hidden; white-space: nowrap'>{WORD}</div>",
        "<img src='_static/favicon.svg' style='max-width: none; width: 1300px'>",
    ]
    scrolled = [
        f"<div class='table-wrapper container'><table><tr><td>{WORD}</td></tr></table></div>",
        f"<div class='highlight'><pre>{WORD}</pre></div>",
        f"<div class='math'><math><mi>{WORD}</mi></math></div>",
    ]
    page.goto((course_site / "index.html").as_uri())
    page.evaluate("document.querySelector('article').innerHTML += '<div id=added></div>'")
    for added in lost + scrolled:
        page.evaluate("added => document.getElementById('added').innerHTML = added", added)
        assert bool(page.evaluate(PROTRUDING)) == (added in lost), added


def test_a_reader_goes_through_the_course_and_changes_the_language(page, course_site):
    page.goto((course_site / "index.html").as_uri())
    page.get_by_role("link", name="Start with lesson 00").click()
    seen = [page.locator("h1").inner_text()[:2]]
    while (onward := page.locator("a.next-page")).count():
        onward.click()
        seen.append(page.locator("h1").inner_text()[:2])
    assert seen == [stem[:2] for stem in lessons()]
    assert page.evaluate("document.documentElement.lang") == "en"
    page.get_by_role("main").get_by_role("link", name="中文").click()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.locator("h1").inner_text().startswith("07 · 最佳实践")
    assert page.locator(".sidebar-tree a", has_text="Environment").count() == 0
    page.get_by_role("link", name="全部课程").click()
    page.get_by_role("link", name="阶梯报告").click()
    assert page.locator("h1").inner_text() == "该用哪种量化？"
    page.get_by_role("link", name="English").click()
    page.get_by_role("link", name="LMDeploy Lab").click()
    assert page.get_by_role("link", name="Start with lesson 00").is_visible()


def test_solutions_are_folded_until_a_reader_asks(page, course_site):
    page.goto((course_site / "en" / "05_kv_quantization.html").as_uri())
    solution = page.get_by_text("### BEGIN SOLUTION").first
    assert not solution.is_visible()
    page.get_by_text("Show a solution").first.click()
    assert solution.is_visible()


def test_texts_of_figures_stand_in_their_boxes_and_clear_of_each_other(page):
    for path in sorted(NOTEBOOKS.glob("*/figures/*.svg")):
        page.goto(path.as_uri())
        assert page.evaluate(CROWDED) == [], path


@pytest.mark.parametrize(
    ("start", "query", "first"),
    [
        ("index.html", "calibration", "05 · KV cache quantization"),
        ("en/07_best_practice.html", "port forwarding", "On InternStudio"),
        ("zh/index.html", "量化", "05 · KV 缓存量化"),
        ("zh/05_kv_quantization.html", "分组大小", "06 · W4A16：4 位权重"),
        ("zh/guides/wsl2.html", "端口转发", "在 InternStudio 上"),
        ("zh/index.html", "KV缓存 量化", "05 · KV 缓存量化"),
        ("zh/index.html", "块", "04 · API 服务"),
    ],
)
def test_a_search_finds_the_page_in_the_reader_s_language(page, course_site, start, query, first):
    chinese = start.startswith("zh/")
    page.goto((course_site / start).as_uri())
    page.get_by_role("search").get_by_role("textbox").fill(query)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="搜索结果" if chinese else "Search Results").wait_for()
    found = page.locator("#search-results li a")
    assert found.first.inner_text() == first
    links = found.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert all(link.startswith("zh/") == chinese for link in links), links
    found.first.click()
    assert page.locator("h1").inner_text() == first
