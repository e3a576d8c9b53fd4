"""Lesson 06's figure."""

from labutils.awq.numbers import ORDER
from labutils.figures.draw import BLUE, GREEN, GREY, ORANGE, Arrow, Box, Label, svg

_PACKING = {
    "en": {
        "title": "Eight neighbours share an int32, the even columns first",
        "columns": "columns of the stored matrix",
        "bits": "bits of the int32, the lowest on the left",
        "group": ("a group", "128 weights below", "one another share"),
        "scale": ("a scale", "16 bits"),
        "zero": ("a zero point", "4 bits"),
    },
    "zh": {
        "title": "相邻的八个数共用一个 int32，偶数列在前",
        "columns": "存储矩阵的列",
        "bits": "int32 的位，最低位在左",
        "group": ("一组", "上下相邻的", "128 个权重共用"),
        "scale": ("一个缩放系数", "16 位"),
        "zero": ("一个零点", "4 位"),
    },
}


def packing(language: str) -> str:
    """Lesson 06: which column stands in which four bits, and what a group shares."""
    say = _PACKING[language]
    parts: list[Box | Label | Arrow] = [Label(260, 54, say["columns"])]
    for nibble, column in enumerate(ORDER):
        x, from_x = 12 + 62 * nibble, 12 + 62 * column
        bits = f"{4 * nibble}–{4 * nibble + 3}"
        parts.append(Box(from_x, 64, 56, 36, str(column), (), BLUE if column % 2 else GREEN))
        parts.append(Box(x, 176, 56, 54, str(column), (bits,), BLUE if column % 2 else GREEN))
        parts.append(Arrow(from_x + 28, 100, x + 28, 174))
    parts += [
        Label(260, 250, say["bits"]),
        Box(12, 270, 176, 74, say["group"][0], say["group"][1:], GREY),
        Box(224, 270, 136, 74, say["scale"][0], say["scale"][1:], ORANGE),
        Box(372, 270, 136, 74, say["zero"][0], say["zero"][1:], ORANGE),
        Arrow(188, 307, 222, 307),
    ]
    return svg(520, 358, say["title"], parts)
