"""Lesson 01's figure."""

from labutils.figures.draw import GREY, ORANGE, Arrow, Box, Label, svg

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
        Box(12, 104, 126, 54, say["folder"][0], say["folder"][1:], GREY),
        Box(180, 52, 150, 54, say["online"][0], say["online"][1:]),
        Box(368, 104, 140, 54, say["engine"][0], say["engine"][1:], ORANGE),
        Box(130, 196, 168, 54, say["convert"][0], say["convert"][1:]),
        Box(326, 196, 170, 54, say["workspace"][0], say["workspace"][1:], GREY),
    ]
    arrows = [
        Arrow(138, 118, 178, 84),
        Arrow(330, 80, 384, 102),
        Arrow(75, 158, 128, 220),
        Arrow(298, 223, 324, 223),
        Arrow(440, 196, 440, 160),
        Label(138, 84, say["on"]),
        Label(66, 206, say["off"]),
    ]
    return svg(520, 266, say["title"], [*boxes, *arrows])
