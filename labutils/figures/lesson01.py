"""Lesson 01's figure."""

from labutils.figures.draw import GREY, ORANGE, Arrow, Box, svg

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
