"""Lesson 06's figure."""

from labutils.awq.numbers import ORDER
from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, svg

_PACKING = {
    "en": {
        "title": "As stored: eight neighbours share an int32, the even columns first",
        "columns": "stored columns",
        "bits": "bits of the int32",
        "group": ("one group of a column", "128 weights below one another share:"),
        "scale": ("a scale", "16 bits"),
        "zero": ("a zero point", "4 bits"),
    },
    "zh": {
        "title": "存储方式：相邻的八个数共用一个 int32，偶数列在前",
        "columns": "存储时的列",
        "bits": "int32 的位",
        "group": ("一列中的一组", "上下相邻的 128 个权重共用："),
        "scale": ("一个缩放系数", "16 位"),
        "zero": ("一个零点", "4 位"),
    },
}


def packing(language: str) -> str:
    """Lesson 06: which column stands in which four bits, and what a group shares."""
    say = _PACKING[language]
    left, step = 190, 68
    parts: list[Box | Arrow] = [
        Box(10, 10, 770, 330, say["title"], (), "#fafafa"),
        Box(25, 50, 150, 40, say["columns"], (), GREY),
        Box(25, 160, 150, 40, say["bits"], (), GREY),
    ]
    for nibble, column in enumerate(ORDER):
        x = left + step * nibble
        bits = f"{4 * nibble}–{4 * nibble + 3}"
        parts.append(Box(left + step * column, 50, 60, 40, str(column), (), BLUE))
        parts.append(Box(x, 160, 60, 52, str(column), (bits,), BLUE))
        parts.append(Arrow(left + step * column + 30, 90, x + 30, 158))
    parts += [
        Box(25, 250, 330, 66, say["group"][0], say["group"][1:], GREY),
        Box(420, 250, 150, 66, say["scale"][0], say["scale"][1:], ORANGE),
        Box(590, 250, 150, 66, say["zero"][0], say["zero"][1:], ORANGE),
        Arrow(355, 283, 418, 283),
    ]
    return svg(790, 350, say["title"], parts)
