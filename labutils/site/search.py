"""Search in both editions: Chinese by characters and pairs of them, English by word stems.

Chinese is written without spaces, and the browser has no dictionary to part a query by. So a run of
Chinese characters is found by its pairs (量化误差 by 量化, 化误, 误差), the usual way without one;
a single character is found by itself. A page shows results of its own edition.

Not here: ranking and the page of results, which are Sphinx's.
"""

import re
from itertools import pairwise

from sphinx.search.en import SearchEnglish

_CHINESE = r"[\u3400-\u9fff]"
_RUNS = re.compile(rf"{_CHINESE}+|(?:(?!{_CHINESE})\w)+")
_SPLIT_QUERY = r"""
var splitQuery = query =>
  (query.match(/[\u3400-\u9fff]+|(?:(?![\u3400-\u9fff])[\p{L}\p{N}_])+/gu) || []).flatMap(run =>
    /[\u3400-\u9fff]./u.test(run) ? [...run].slice(1).map((next, n) => run[n] + next) : [run]);

const searchBothEditions = Search._performSearch;
Search._performSearch = (...query) => {
  const chinese = document.documentElement.lang.startsWith("zh");
  return searchBothEditions(...query).filter(([page]) => page.startsWith("zh/") === chinese);
};
"""


class BothEditions(SearchEnglish):
    """Sphinx's English search that also takes Chinese apart, in the index and in queries."""

    lang = "both"
    js_splitter_code = _SPLIT_QUERY

    def split(self, input: str) -> list[str]:  # noqa: A002  (Sphinx's name)
        """Words, and for each run of Chinese its characters and its pairs of characters."""
        return [part for run in _RUNS.findall(input) for part in _parts(run)]


def _parts(run: str) -> list[str]:
    if not re.match(_CHINESE, run):
        return [run]
    return [*run, *map("".join, pairwise(run))]
