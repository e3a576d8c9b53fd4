"""Lesson 05's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Box, svg

PIXELS_A_BYTE = 2
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
    parts = [Box(10, 10, 770, 250, say["title"], (), "#fafafa")]
    for number, (name, bits) in enumerate(zip(say["rows"], (16, 8, 4), strict=True)):
        y = 50 + 66 * number
        size = HEAD_DIM * bits // 8
        width = size * PIXELS_A_BYTE
        extra = 0 if bits == 16 else 4
        parts.append(Box(25, y, 90, 50, name, (say["bytes"].format(size + extra),), GREY))
        parts.append(Box(130, y, width, 50, say["numbers"], (say["bytes"].format(size),), BLUE))
        if extra:
            parts.append(Box(130 + width, y, extra * PIXELS_A_BYTE, 50, "", (), ORANGE))
            parts.append(Box(160 + width, y + 8, 190, 34, say["scale"], (), "white"))
    return svg(790, 270, say["title"], parts)
