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


_PARTS = {
    "en": {
        "title": "The parts of LMDeploy",
        "fronts": (
            ("lmdeploy chat", "terminal"),
            ("pipeline", "Python"),
            ("lmdeploy serve", "HTTP, OpenAI protocol"),
        ),
        "shared": ("chat template and tokenizer", "text ⇄ tokens"),
        "turbomind": ("TurboMind", "C++ and CUDA"),
        "pytorch": ("PyTorch engine", "Python"),
        "gpu": ("NVIDIA GPU", ""),
        "cpu": ("GPUs and others; here CPUs too", ""),
        "lite": ("lmdeploy lite", "quantizes once,", "before serving"),
        "model": ("model folder", "weights, tokenizer,", "chat template"),
    },
    "zh": {
        "title": "LMDeploy 的组成部分",
        "fronts": (
            ("lmdeploy chat", "终端"),
            ("pipeline", "Python"),
            ("lmdeploy serve", "HTTP，OpenAI 协议"),
        ),
        "shared": ("对话模板与分词器", "文本 ⇄ 词元"),
        "turbomind": ("TurboMind", "C++ 与 CUDA"),
        "pytorch": ("PyTorch 引擎", "Python"),
        "gpu": ("NVIDIA GPU", ""),
        "cpu": ("GPU、其他加速卡；本课程还有 CPU", ""),
        "lite": ("lmdeploy lite", "部署之前", "量化一次"),
        "model": ("模型文件夹", "权重、分词器、", "对话模板"),
    },
}


def parts(language: str) -> str:
    """Lesson 00: front ends, engines and devices, and where quantization comes in."""
    say = _PARTS[language]
    fronts = [
        Box(20 + 190 * n, 50, 170, 60, front[0], front[1:], GREY)
        for n, front in enumerate(say["fronts"])
    ]
    shared = Box(20, 140, 550, 60, say["shared"][0], say["shared"][1:])
    engines = [
        Box(20, 230, 260, 60, say["turbomind"][0], say["turbomind"][1:]),
        Box(310, 230, 260, 60, say["pytorch"][0], say["pytorch"][1:]),
    ]
    devices = [
        Box(20, 320, 260, 40, say["gpu"][0], (), ORANGE),
        Box(310, 320, 260, 40, say["cpu"][0], (), ORANGE),
    ]
    beside = [
        Box(620, 50, 160, 80, say["lite"][0], say["lite"][1:], GREY),
        Box(620, 220, 160, 80, say["model"][0], say["model"][1:], GREY),
    ]
    down = [Arrow(x, 110, x, 138) for x in (105, 295, 485)]
    down += [Arrow(x, y, x, y + 28) for x in (150, 440) for y in (200, 290)]
    sideways = [Arrow(700, 130, 700, 218), Arrow(620, 260, 580, 260)]
    frame = Box(10, 10, 780, 360, say["title"], (), "#fafafa")
    either = Box(12, 223, 566, 74, "", (), "white")
    boxes = [frame, *fronts, shared, either, *engines, *devices, *beside]
    return svg(800, 380, say["title"], [*boxes, *down, *sideways])


_TURBOMIND = {
    "en": {
        "title": "Inside TurboMind: one step after another, for ever",
        "queue": ("queue", "waiting requests"),
        "batch": ("running batch", "slot 1: request A", "slot 2: request B", "slot 3: free"),
        "layers": ("model layers", "attention kernels", "16- or 4-bit GEMM"),
        "sampling": ("sampling", "one token", "per slot"),
        "manager": ("sequence manager", "which blocks hold which tokens"),
        "pool": ("KV cache: a pool of blocks, 64 tokens each",),
        "enter": "enter",
        "again": "next step; finished requests leave their slots and blocks",
    },
    "zh": {
        "title": "TurboMind 内部：一步接一步，永不停止",
        "queue": ("队列", "等待的请求"),
        "batch": ("运行中的批次", "位置 1：请求 A", "位置 2：请求 B", "位置 3：空闲"),
        "layers": ("模型各层", "注意力算子", "16 位或 4 位矩阵乘法"),
        "sampling": ("采样", "每个位置", "一个词元"),
        "manager": ("序列管理器", "哪些块存放哪些词元"),
        "pool": ("KV 缓存：由块组成的显存池，每块 64 个词元",),
        "enter": "进入",
        "again": "下一步；完成的请求让出位置和块",
    },
}


def turbomind(language: str) -> str:
    """Lesson 00: queue, running batch, layers, and the block pool that serves them."""
    say = _TURBOMIND[language]
    boxes = [
        Box(30, 95, 130, 100, say["queue"][0], say["queue"][1:], GREY),
        Box(220, 95, 160, 100, say["batch"][0], say["batch"][1:]),
        Box(430, 95, 160, 100, say["layers"][0], say["layers"][1:], ORANGE),
        Box(640, 95, 120, 100, say["sampling"][0], say["sampling"][1:]),
        Box(30, 260, 250, 66, say["manager"][0], say["manager"][1:]),
        Box(330, 240, 430, 100, say["pool"][0], (), "#fafafa"),
    ]
    blocks = [
        Box(345 + 42 * n, 280, 34, 44, label, (), fill)
        for n, (label, fill) in enumerate(
            zip(
                "AABABB    ",
                [BLUE, BLUE, ORANGE, BLUE, ORANGE, ORANGE] + 4 * ["white"],
                strict=True,
            )
        )
    ]
    arrows = [
        Arrow(160, 145, 218, 145, say["enter"]),
        Arrow(380, 145, 428, 145),
        Arrow(590, 145, 638, 145),
        Arrow(700, 76, 300, 76, say["again"]),
        Arrow(510, 195, 510, 238),
        Arrow(280, 293, 328, 293),
    ]
    frame = Box(10, 10, 770, 345, say["title"], (), "#fafafa")
    return svg(790, 365, say["title"], [frame, *boxes, *blocks, *arrows])


_CONVERSION = {
    "en": {
        "title": "Two ways from a model folder to an engine",
        "folder": ("model folder", "as it was trained"),
        "online": ("at every start", "fuse, reorder, split"),
        "engine": ("engine", "as its kernels read"),
        "convert": ("lmdeploy convert", "once; gone since 0.10"),
        "workspace": ("workspace", "files without headers"),
        "on": "online",
        "off": "offline",
    },
    "zh": {
        "title": "从模型文件夹到推理引擎的两条路",
        "folder": ("模型文件夹", "训练时的样子"),
        "online": ("每次启动", "融合、重排、切分"),
        "engine": ("推理引擎", "算子读取的样子"),
        "convert": ("lmdeploy convert", "只做一次；0.10 起取消"),
        "workspace": ("workspace", "没有文件头的文件"),
        "on": "在线",
        "off": "离线",
    },
}


def conversion(language: str) -> str:
    """Lesson 01: converting at every start, or once into a workspace."""
    say = _CONVERSION[language]
    boxes = [
        Box(30, 110, 160, 60, say["folder"][0], say["folder"][1:], GREY),
        Box(300, 60, 190, 60, say["online"][0], say["online"][1:]),
        Box(600, 110, 160, 60, say["engine"][0], say["engine"][1:], ORANGE),
        Box(270, 185, 160, 60, say["convert"][0], say["convert"][1:]),
        Box(450, 185, 140, 60, say["workspace"][0], say["workspace"][1:], GREY),
    ]
    arrows = [
        Arrow(190, 125, 298, 95, say["on"]),
        Arrow(490, 95, 598, 125),
        Arrow(190, 170, 268, 215, say["off"]),
        Arrow(430, 215, 448, 215),
        Arrow(590, 205, 640, 172),
    ]
    frame = Box(10, 10, 770, 255, say["title"], (), "#fafafa")
    return svg(790, 275, say["title"], [frame, *boxes, *arrows])


FIGURES = {
    "00_parts": parts,
    "00_turbomind": turbomind,
    "01_conversion": conversion,
    "03_local_chat": local_chat,
}


def main(root: Path = NOTEBOOKS) -> None:
    """Write every figure in every language."""
    for name, draw in FIGURES.items():
        for language in ("en", "zh"):
            path = root / language / "figures" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(draw(language), encoding="utf-8")


if __name__ == "__main__":
    main()
