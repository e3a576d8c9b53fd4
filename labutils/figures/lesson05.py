"""Lesson 05's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Box, Label, svg

PIXELS_A_BYTE = 1.5
HEAD_DIM = 128

_KV = {
    "en": {
        "title": "One token's keys of one head (128 numbers), to scale",
        "rows": ("16 bits", "int8", "int4"),
        "bytes": "{} bytes",
        "numbers": "numbers",
        "scale": "scale, zero: 4 bytes",
    },
    "zh": {
        "title": "一个词元在一个注意力头里的 K（128 个数），按比例绘制",
        "rows": ("16 位", "int8", "int4"),
        "bytes": "{} 字节",
        "numbers": "数值",
        "scale": "缩放系数、零点：4 字节",
    },
}


def kv(language: str) -> str:
    """Lesson 05: what a row takes in 16 bits, int8 and int4."""
    say = _KV[language]
    parts = []
    for number, (name, bits) in enumerate(zip(say["rows"], (16, 8, 4), strict=True)):
        y = 46 + 66 * number
        size = HEAD_DIM * bits // 8
        width = round(size * PIXELS_A_BYTE)
        extra = 0 if bits == 16 else 4
        parts.append(Box(12, y, 90, 54, name, (say["bytes"].format(size + extra),), GREY))
        parts.append(Box(112, y, width, 54, say["numbers"], (say["bytes"].format(size),), BLUE))
        if extra:
            parts.append(Box(112 + width, y, round(extra * PIXELS_A_BYTE), 54, "", (), ORANGE))
            parts.append(Label(112 + width + 90, y + 32, say["scale"]))
    return svg(520, 250, say["title"], parts)
