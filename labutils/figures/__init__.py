"""The lessons' explanatory figures, drawn by code, in both languages.

`python -m labutils.figures` writes every figure into notebooks/LANGUAGE/figures/. What they consist
of is in `draw`. Plots of measured numbers are not here: the lessons draw those.
"""

from labutils.figures import lessons
from labutils.paths import NOTEBOOKS
from labutils.texts import LANGUAGES

FIGURES = {
    "00_parts": lessons.parts,
    "00_turbomind": lessons.turbomind,
    "00_paging": lessons.paging,
    "01_conversion": lessons.conversion,
    "03_local_chat": lessons.local_chat,
    "04_serving": lessons.serving,
    "05_kv": lessons.kv,
    "06_packing": lessons.packing,
    "07_ladder": lessons.ladder,
}
"""Name of the file → what draws it in a language, en or zh."""


def main() -> None:
    """Write every figure in every language."""
    for name, draw in FIGURES.items():
        for language in LANGUAGES:
            path = NOTEBOOKS / language / "figures" / f"{name}.svg"
            path.write_text(draw(language), encoding="utf-8")
