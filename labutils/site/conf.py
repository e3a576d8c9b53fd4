"""Sphinx configuration of the course's site: pages that need nothing but the disk they lie on.

Formulas become MathML, which every browser draws without scripts or fonts from elsewhere. Nothing
is executed here; `labutils.course` stages notebooks with the outputs they shall show.
"""

from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx import locale
from sphinx.application import Sphinx
from sphinx.util import logging

from labutils.site.search import BothEditions

_CHINESE_SEARCH = "search_zh"  # beside `search`: results link to pages as seen from there
_CHINESE_SCRIPT = Path(locale._LOCALE_DIR, "zh_CN", "LC_MESSAGES", "sphinx.js")

project = "LMDeploy Lab"
html_title = "LMDeploy Lab"
extensions = ["myst_nb"]
html_theme = "furo"
html_static_path = ["_static", str(_CHINESE_SCRIPT)]
html_css_files = ["course.css"]
html_favicon = "_static/favicon.svg"
html_use_index = False
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_additional_pages = {_CHINESE_SEARCH: "search.html"}
html_search_language = BothEditions.lang
html_show_search_summary = False  # is fetched, which browsers refuse for pages opened from disk
html_math_renderer = "mathml"
pygments_dark_style = "github-dark"
html_theme_options = {"footer_icons": []}
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}  # their scripts lie on a CDN; `course` stages widgets as text
nb_merge_streams = True
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]


def mathml(formula: str, *, block: bool) -> str:
    """MathML for a LaTeX formula, or the formula itself as code where docutils cannot."""
    for environment in (
        "align",
        "align*",
        "equation",
        "equation*",
        "gather",
        "gather*",
    ):
        formula = formula.replace(f"\\begin{{{environment}}}", "")
        formula = formula.replace(f"\\end{{{environment}}}", "")
    try:
        return latex2mathml.tex2mathml(formula.strip(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", formula, error)
        return f"<code>{nodes.unescape(formula)}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Draw an inline formula."""
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Draw a formula on a line of its own."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


FURO_IN_CHINESE = {
    "Home": "首页",
    "Next": "下一课",
    "Previous": "上一课",
    "On this page": "本页内容",
    "Back to top": "回到顶部",
}


@cache
def chinese() -> Any:
    """Sphinx's own Chinese wording of buttons and headings."""
    return locale.init([locale._LOCALE_DIR], "zh_CN")[0]


def in_chinese(text: str) -> str:
    """Furo's words in Chinese, and those that Sphinx has."""
    return FURO_IN_CHINESE.get(text) or chinese().gettext(text)


def speak_chinese(app: Sphinx, context: dict[str, Any]) -> None:
    """Chinese buttons, the Chinese start page and search, whose scripts speak Chinese as well."""
    pathto = context["pathto"]

    def path_to_chinese(page: str, *args: Any, **options: Any) -> str:
        return pathto(_CHINESE_SEARCH if page == "search" else page, *args, **options)

    context |= {"language": "zh-CN", "master_doc": "zh/index", "pathto": path_to_chinese}
    context["_"] = context["gettext"] = in_chinese
    app.add_js_file(_CHINESE_SCRIPT.name)  # to this page alone, as it is called while that is made


def keep_to_the_page_s_language(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Lead from a page to those of its language alone, under Chinese buttons on Chinese pages."""
    caption = '<p class="caption"'
    parts = context.get("furo_navigation_tree", "").split(caption)
    first = 1  # lessons and guides in English, then both in Chinese
    if page.startswith("zh/") or page == _CHINESE_SEARCH:
        first = 3
        speak_chinese(app, context)
    context["furo_navigation_tree"] = "".join(caption + part for part in parts[first:][:2])
    for way in ("prev", "next"):
        link = (context.get(way) or {}).get("link", "")
        # Lessons lead to lessons, guides to guides, the start page into its folder.
        if "/" in link.removesuffix("../index.html") and page != "index":
            context[way] = None


def setup(app: Sphinx) -> None:
    """Register the search and the two hooks above."""
    app.add_search_language(BothEditions)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    after_furo = 900
    app.connect("html-page-context", keep_to_the_page_s_language, after_furo)
