"""What figures consist of: boxes and arrows with text, as SVG.

Text stays text, so that a reader's own fonts show it (no CJK font is needed to draw) and a screen
reader can read it. Figures are about 510 wide, so that a phone shows their letters at 9 pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

BLUE, ORANGE, GREEN, GREY, PAPER = "#dbe9f6", "#fde6cf", "#dcefd5", "#eeeeee", "#fafafa"
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True)
class Box:
    """A labelled rectangle; position and size in pixels."""

    x: int
    y: int
    width: int
    height: int
    text: str
    """A title and lines below it, with | between them."""
    fill: str = BLUE
    frame: bool = False
    """Whether the title stands at the top, over what lies in the box."""


@dataclass(frozen=True)
class Label:
    """Words that stand by themselves, centred on x, their base line at y."""

    x: int
    y: int
    text: str


@dataclass(frozen=True)
class Arrow:
    """An arrow from one point to another with a label over its middle, or right of an upright one.

    It is straight, or goes round: up to the height `over`, across, and down.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    label: str = ""
    over: int | None = None


Part = Box | Label | Arrow


def svg(width: int, height: int, title: str, parts: Sequence[Part]) -> str:
    """An SVG document in a frame under its `title`, which is also its accessible name."""
    frame = Box(2, 2, width - 4, height - 4, title, PAPER, frame=True)
    body = [piece for part in (frame, *parts) for piece in _draw(part)]
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
            f"viewBox='0 0 {width} {height}' role='img' aria-labelledby='title' {FONT}>",
            f"<title id='title'>{escape(title)}</title>",
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
            "markerHeight='7' orient='auto'><path d='M0 0 8 4 0 8z' fill='#444'/></marker></defs>",
            f"<rect width='{width}' height='{height}' fill='white'/>",
            *body,
            "</svg>\n",
        ]
    )


def _draw(part: Part) -> Iterator[str]:
    if isinstance(part, Label):
        yield _text(part.x, part.y, part.text)
    elif isinstance(part, Arrow):
        yield from _draw_arrow(part)
    else:
        yield from _draw_box(part)


def _draw_box(box: Box) -> Iterator[str]:
    yield (
        f"<rect x='{box.x}' y='{box.y}' width='{box.width}' height='{box.height}' rx='6' "
        f"fill='{box.fill}' stroke='#888'/>"
    )
    middle = box.x + box.width // 2
    title, *lines = box.text.split("|")
    used = 18 * len(lines) + 18
    y = box.y + (22 if box.frame else (box.height - used) // 2 + 14)
    if title:
        yield _text(middle, y, title, 14, bold=True)
    for number, line in enumerate(lines, 1):
        yield _text(middle, y + 1 + 18 * number, line)


def _draw_arrow(arrow: Arrow) -> Iterator[str]:
    way = f"L{arrow.x2} {arrow.y2}"
    x, y = (arrow.x1 + arrow.x2) // 2, (arrow.y1 + arrow.y2) // 2
    if arrow.over is not None:
        way = f"V{arrow.over}H{arrow.x2}V{arrow.y2}"
        y = arrow.over
    yield (
        f"<path d='M{arrow.x1} {arrow.y1}{way}' fill='none' stroke='#444' "
        "stroke-width='1.5' marker-end='url(#tip)'/>"
    )
    if not arrow.label:
        return
    if arrow.x1 == arrow.x2:
        yield _text(x + 8, y + 4, arrow.label, anchor="start")
    else:
        yield _text(x, y - 7, arrow.label)


def _text(x: int, y: int, text: str, size: int = 13, bold: bool = False, anchor: str = "") -> str:
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x}' y='{y}' font-size='{size}' text-anchor='{anchor or 'middle'}' "
        f"fill='#222'{weight}>{escape(text)}</text>"
    )
