"""What figures consist of: boxes and arrows with text, as SVG.

Text stays text, so that a reader's own fonts show it (no CJK font is needed to draw) and a screen
reader can read it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

BLUE, ORANGE, GREY = "#dbe9f6", "#fde6cf", "#eeeeee"
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True)
class Box:
    """A labelled rectangle; position and size in pixels."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: Sequence[str] = ()
    fill: str = BLUE


@dataclass(frozen=True)
class Arrow:
    """A straight arrow from one point to another, with a label over its middle."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: str = ""


def svg(width: int, height: int, title: str, parts: Sequence[Box | Arrow]) -> str:
    """An SVG document with `title` as its accessible name."""
    body = [piece for part in parts for piece in _draw(part)]
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"role='img' aria-labelledby='title' {FONT}>",
            f"<title id='title'>{escape(title)}</title>",
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
            "markerHeight='7' orient='auto'><path d='M0 0 8 4 0 8z' fill='#444'/></marker></defs>",
            f"<rect width='{width}' height='{height}' fill='white'/>",
            *body,
            "</svg>\n",
        ]
    )


def _draw(part: Box | Arrow) -> Iterator[str]:
    if isinstance(part, Arrow):
        yield (
            f"<path d='M{part.x1} {part.y1}L{part.x2} {part.y2}' stroke='#444' "
            "stroke-width='1.5' marker-end='url(#tip)'/>"
        )
        yield _text((part.x1 + part.x2) // 2, (part.y1 + part.y2) // 2 - 8, part.label, 12)
        return
    yield (
        f"<rect x='{part.x}' y='{part.y}' width='{part.width}' height='{part.height}' rx='6' "
        f"fill='{part.fill}' stroke='#888'/>"
    )
    middle = part.x + part.width // 2
    yield _text(middle, part.y + 22, part.title, 14, bold=True)
    for number, line in enumerate(part.lines):
        yield _text(middle, part.y + 44 + 18 * number, line, 12)


def _text(x: int, y: int, text: str, size: int, bold: bool = False) -> str:
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x}' y='{y}' font-size='{size}' text-anchor='middle' fill='#222'{weight}>"
        f"{escape(text)}</text>"
    )
