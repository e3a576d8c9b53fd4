"""The lessons' explanatory figures, drawn by code, in both languages.

`python -m labutils.figures` writes every figure into notebooks/LANGUAGE/figures/. Each lesson's
figures are in the module of its number, and what they consist of in `draw`. Plots of measured
numbers are not here: the lessons draw those.
"""

from pathlib import Path

from labutils.figures import (
    lesson00,
    lesson01,
    lesson03,
    lesson04,
    lesson05,
    lesson06,
    lesson07,
)
from labutils.paths import NOTEBOOKS

FIGURES = {
    "00_parts": lesson00.parts,
    "00_turbomind": lesson00.turbomind,
    "00_paging": lesson00.paging,
    "01_conversion": lesson01.conversion,
    "03_local_chat": lesson03.local_chat,
    "04_serving": lesson04.serving,
    "05_kv": lesson05.kv,
    "06_packing": lesson06.packing,
    "07_ladder": lesson07.ladder,
}
"""Name of the file → what draws it in a language, en or zh."""


def main(root: Path = NOTEBOOKS) -> None:
    """Write every figure in every language."""
    for name, draw in FIGURES.items():
        for language in ("en", "zh"):
            path = root / language / "figures" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(draw(language), encoding="utf-8")
