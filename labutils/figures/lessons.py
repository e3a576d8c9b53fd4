"""Each lesson's figures, in the lessons' order; their words are in `texts/figures.csv`."""

from labutils.awq.numbers import ORDER
from labutils.figures.draw import BLUE, GREEN, GREY, ORANGE, Arrow, Box, Label, Part, svg
from labutils.texts import spoken


def _words(figure: str, language: str) -> dict[str, str]:
    """A figure's texts by the rest of their keys."""
    texts = spoken("figures", language).items()
    return {key.partition(".")[2]: text for key, text in texts if key.startswith(f"{figure}.")}


def parts(language: str) -> str:
    """Lesson 00: front ends, engines and devices, and where quantization comes in."""
    say = _words("parts", language)
    fronts = [Box(12 + 118 * n, 44, 110, 54, say[f"front {n + 1}"], GREY) for n in range(3)]
    engines = [
        Box(12, 128, 346, 54, say["shared"]),
        Box(12, 210, 346, 66, "", "white"),
        Box(18, 216, 162, 54, say["turbomind"]),
        Box(190, 216, 162, 54, say["pytorch"]),
    ]
    devices = [
        Box(18, 304, 162, 54, say["gpu"], ORANGE),
        Box(190, 304, 162, 54, say["cpu"], ORANGE),
    ]
    beside = [
        Box(376, 88, 132, 74, say["lite"], GREY),
        Box(376, 206, 132, 74, say["model"], GREY),
    ]
    down = [Arrow(x, 98, x, 126) for x in (67, 185, 303)]
    down += [Arrow(x, 182, x, 214) for x in (99, 271)] + [Arrow(x, 270, x, 302) for x in (99, 271)]
    sideways = [Arrow(442, 162, 442, 204), Arrow(376, 243, 360, 243)]
    return svg(520, 372, say["title"], [*fronts, *engines, *devices, *beside, *down, *sideways])


def turbomind(language: str) -> str:
    """Lesson 00: queue, running batch, layers, and the block pool that serves them."""
    say = _words("turbomind", language)
    boxes = [
        Box(12, 88, 84, 96, say["queue"], GREY),
        Box(118, 88, 128, 96, say["batch"]),
        Box(268, 88, 134, 96, say["layers"], ORANGE),
        Box(424, 88, 84, 96, say["sampling"]),
        Box(12, 226, 164, 78, say["manager"]),
        Box(198, 216, 310, 96, say["pool"], "white", frame=True),
    ]
    fills = {"A": BLUE, "B": ORANGE, "": "white"}
    blocks = [
        Box(208 + 42 * n, 256, 36, 40, request, fills[request])
        for n, request in enumerate(["A", "A", "B", "A", "B", "B", ""])
    ]
    arrows = [
        Arrow(96, 136, 116, 136),
        Arrow(246, 136, 266, 136),
        Arrow(402, 136, 422, 136),
        Arrow(466, 88, 182, 86, say["again"], over=62),
        Arrow(335, 184, 335, 214),
        Arrow(176, 265, 196, 265),
    ]
    return svg(520, 326, say["title"], [*boxes, *blocks, *arrows])


_A = {"0–63": 1, "64–127": 5, "128–149": 3}
_B = {"0–63": 1, "64–69": 6}
"""Tokens of a request, and the block of the pool that holds them."""


def paging(language: str) -> str:
    """Lesson 00: two requests whose tokens lie in blocks of one pool."""
    say = _words("paging", language)
    fills = {block: GREEN if block in _B.values() else BLUE for block in _A.values()} | {6: ORANGE}
    drawn: list[Part] = [
        Box(12 + 62 * block, 166, 56, 36, str(block), fills.get(block, "white"))
        for block in range(8)
    ]
    for who, tokens, y, start, end in (("a", _A, 48, 93, 164), ("b", _B, 266, 275, 204)):
        drawn.append(Box(12, y, 112, 54, say[who], GREY))
        for number, (span, block) in enumerate(tokens.items()):
            x = 142 + 122 * number
            drawn.append(Box(x, y + 9, 112, 36, span, fills[block]))
            drawn.append(Arrow(x + 56, start, 40 + 62 * block, end))
    drawn += [Label(260, 226, say["pool"]), Label(260, 344, say["same"])]
    return svg(520, 358, say["title"], drawn)


def conversion(language: str) -> str:
    """Lesson 01: converting at every start, or once into a workspace."""
    say = _words("conversion", language)
    drawn = [
        Box(12, 104, 126, 54, say["folder"], GREY),
        Box(180, 52, 150, 54, say["online"]),
        Box(368, 104, 140, 54, say["engine"], ORANGE),
        Box(130, 196, 168, 54, say["convert"]),
        Box(326, 196, 170, 54, say["workspace"], GREY),
        Arrow(138, 118, 178, 84),
        Arrow(330, 80, 384, 102),
        Arrow(75, 158, 128, 220),
        Arrow(298, 223, 324, 223),
        Arrow(440, 196, 440, 160),
        Label(138, 84, say["on"]),
        Label(66, 206, say["off"]),
    ]
    return svg(520, 266, say["title"], drawn)


def local_chat(language: str) -> str:
    """Lesson 03: what stands between the keyboard and the model."""
    say = _words("local_chat", language)
    columns = (("front", GREY), ("pipeline", BLUE), ("engine", BLUE), ("model", ORANGE))
    boxes = [Box(12 + 133 * n, 52, 97, 84, say[key], fill) for n, (key, fill) in enumerate(columns)]
    arrows = [Arrow(109 + 133 * n, 94, 143 + 133 * n, 94) for n in range(3)]
    between = enumerate(("text", "tokens", "batch"))
    labels = [Label(127 + 133 * n, 156, say[key]) for n, key in between]
    back = Arrow(498, 188, 22, 188, say["back"])
    return svg(520, 210, say["title"], [*boxes, *arrows, *labels, back])


def serving(language: str) -> str:
    """Lesson 04: clients, proxy, servers, and where the engine is."""
    say = _words("serving", language)
    clients = [Box(12, 52 + 78 * n, 118, 54, say[f"client {n + 1}"], GREY) for n in range(3)]
    servers = [
        Box(178, 119, 112, 76, say["proxy"]),
        Box(330, 46, 178, 168, "", "white"),
        Box(338, 54, 162, 74, say["front"]),
        Box(338, 152, 162, 54, say["engine"], ORANGE),
        Box(330, 228, 178, 54, say["other"], GREY),
    ]
    arrows = [
        Arrow(130, 80, 176, 132),
        Arrow(130, 157, 176, 157),
        Arrow(130, 234, 176, 182),
        Arrow(290, 140, 336, 100),
        Arrow(290, 175, 328, 246),
        Arrow(419, 128, 419, 150, say["tokens"]),
        Label(176, 96, say["http"]),
    ]
    return svg(520, 298, say["title"], [*clients, *servers, *arrows])


def kv(language: str) -> str:
    """Lesson 05: what a row of 128 numbers takes in 16 bits, int8 and int4, 1.5 pixels a byte."""
    say = _words("kv", language)
    drawn: list[Part] = []
    for y, bits, extra in ((46, 16, 0), (112, 8, 4), (178, 4, 4)):
        size = 128 * bits // 8
        width = 3 * size // 2
        total, inside = (say["bytes"].format(count) for count in (size + extra, size))
        drawn.append(Box(12, y, 90, 54, f"{say[str(bits)]}|{total}", GREY))
        drawn.append(Box(112, y, width, 54, f"{say['numbers']}|{inside}"))
        if extra:
            drawn.append(Box(112 + width, y, 3 * extra // 2, 54, "", ORANGE))
            drawn.append(Label(112 + width + 90, y + 32, say["scale"]))
    return svg(520, 250, say["title"], drawn)


def packing(language: str) -> str:
    """Lesson 06: which column stands in which four bits, and what a group shares."""
    say = _words("packing", language)
    drawn: list[Part] = [Label(260, 54, say["columns"])]
    for nibble, column in enumerate(ORDER):
        x, from_x = 12 + 62 * nibble, 12 + 62 * column
        bits, fill = f"{4 * nibble}–{4 * nibble + 3}", BLUE if column % 2 else GREEN
        drawn.append(Box(from_x, 64, 56, 36, str(column), fill))
        drawn.append(Box(x, 176, 56, 54, f"{column}|{bits}", fill))
        drawn.append(Arrow(from_x + 28, 100, x + 28, 174))
    drawn += [
        Label(260, 250, say["bits"]),
        Box(12, 270, 176, 74, say["group"], GREY),
        Box(224, 270, 136, 74, say["scale"], ORANGE),
        Box(372, 270, 136, 74, say["zero"], ORANGE),
        Arrow(188, 307, 222, 307),
    ]
    return svg(520, 358, say["title"], drawn)


def ladder(language: str) -> str:
    """Lesson 07: the source's four steps, the way up and the way back."""
    say = _words("ladder", language)
    drawn: list[Part] = []
    for number in range(4):
        x, y = 12 + 126 * number, 250 - 66 * number
        drawn.append(Box(x, y, 120, 78, say[f"step {number + 1}"], BLUE if number else GREY))
        if number:
            drawn.append(Arrow(x - 66, y + 66, x - 2, y + 30))
            drawn.append(Arrow(x + 54, y + 78, x - 4, y + 116))
    drawn += [
        Arrow(72, 328, 72, 352),
        Box(12, 354, 178, 78, say["weak"], ORANGE),
        Box(226, 336, 282, 96, say["rule"], "white"),
    ]
    return svg(520, 446, say["title"], drawn)
