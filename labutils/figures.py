"""The lessons' explanatory figures, drawn as SVG by code, in both languages.

Text stays text, so that a reader's own fonts show it (no CJK font is needed to draw) and a screen
reader can read it. `python -m labutils.figures` writes every figure into
notebooks/LANGUAGE/figures/. Plots of measured numbers are not here: the lessons draw those.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from labutils.paths import NOTEBOOKS

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


# --- the figures: language → SVG ----------------------------------------------------------------

_LOCAL_CHAT = {
    "en": {
        "title": "Local chat: everything runs in one process on one machine",
        "process": "one process on one machine (no server)",
        "front": ("keyboard", "your message"),
        "pipeline": ("pipeline", "chat template", "tokenizer"),
        "engine": ("engine", "scheduler", "KV cache"),
        "model": ("model", "weights", "→ next token"),
        "text": "text",
        "tokens": "tokens",
        "batch": "batch",
        "back": "one piece of the answer per decode step",
    },
    "zh": {
        "title": "本地对话：一切都在同一台机器的同一个进程里",
        "process": "一台机器上的一个进程（没有服务器）",
        "front": ("键盘", "你的消息"),
        "pipeline": ("pipeline", "对话模板", "分词器"),
        "engine": ("推理引擎", "调度器", "KV 缓存"),
        "model": ("模型", "权重", "→ 下一个词元"),
        "text": "文本",
        "tokens": "词元",
        "batch": "批次",
        "back": "每一步解码返回一小段回答",
    },
}


def local_chat(language: str) -> str:
    """Lesson 03: what stands between the keyboard and the model."""
    say = _LOCAL_CHAT[language]
    columns = [("front", GREY), ("pipeline", BLUE), ("engine", BLUE), ("model", ORANGE)]
    boxes = [
        Box(30 + 190 * n, 60, 130, 90, say[key][0], say[key][1:], fill)
        for n, (key, fill) in enumerate(columns)
    ]
    forward = [
        Arrow(160 + 190 * n, 105, 220 + 190 * n, 105, say[key])
        for n, key in enumerate(("text", "tokens", "batch"))
    ]
    frame = Box(10, 10, 740, 190, say["process"], (), "#fafafa")
    return svg(
        760, 210, say["title"], [frame, *boxes, *forward, Arrow(730, 178, 40, 178, say["back"])]
    )


FIGURES = {"03_local_chat": local_chat}


def main(root: Path = NOTEBOOKS) -> None:
    """Write every figure in every language."""
    for name, draw in FIGURES.items():
        for language in ("en", "zh"):
            path = root / language / "figures" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(draw(language), encoding="utf-8")


if __name__ == "__main__":
    main()
