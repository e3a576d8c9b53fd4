"""Lesson 07's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, svg

_LADDER = {
    "en": {
        "title": "The ladder: four steps up, and a way back",
        "steps": (
            ("1 · Baseline", ("as it is:", "good enough?")),
            ("2 · KV cache", ("KV int8", "KV int4")),
            ("3 · Weights", ("W4A16",)),
            ("4 · Both", ("W4A16 + KV int8", "W4A16 + KV int4")),
        ),
        "weak": ("not good enough", ("fine-tune, or take", "a larger model")),
        "rule": (
            "The rule",
            (
                "↗ good enough: try the next step",
                "↙ too much lost: use the step before",
                "a step that fails ends the way",
            ),
        ),
    },
    "zh": {
        "title": "阶梯：向上四步，也有退路",
        "steps": (
            ("1 · 基线", ("原样运行：", "能满足任务吗？")),
            ("2 · KV 缓存", ("KV int8", "KV int4")),
            ("3 · 权重", ("W4A16",)),
            ("4 · 两者一起", ("W4A16 + KV int8", "W4A16 + KV int4")),
        ),
        "weak": ("达不到要求", ("微调，或换用", "更大的模型")),
        "rule": (
            "规则",
            (
                "↗ 满足要求：尝试下一步",
                "↙ 损失过大：退回，采用上一步",
                "某一步不行，就到此为止",
            ),
        ),
    },
}
_WIDTH, _HEIGHT, _RISE = 120, 78, 66


def ladder(language: str) -> str:
    """Lesson 07: the source's four steps, the way up and the way back."""
    say = _LADDER[language]
    parts: list[Box | Arrow] = []
    for number, (name, lines) in enumerate(say["steps"]):
        x, y = 12 + 126 * number, 250 - _RISE * number
        parts.append(Box(x, y, _WIDTH, _HEIGHT, name, lines, GREY if number == 0 else BLUE))
        if number:
            parts.append(Arrow(x - 66, y + _RISE, x - 2, y + 30))
            parts.append(Arrow(x + 54, y + _HEIGHT, x - 4, y + _RISE + 50))
    parts += [
        Arrow(72, 250 + _HEIGHT, 72, 352),
        Box(12, 354, 178, 78, say["weak"][0], say["weak"][1], ORANGE),
        Box(226, 336, 282, 96, say["rule"][0], say["rule"][1], "white"),
    ]
    return svg(520, 446, say["title"], parts)
