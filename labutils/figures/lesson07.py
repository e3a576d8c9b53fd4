"""Lesson 07's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, svg

_LADDER = {
    "en": {
        "title": "The ladder: four steps up, and back one step when a step loses too much",
        "steps": (
            ("1 · Baseline", ("as it is", "fine for your task?")),
            ("2 · KV cache", ("KV int8", "KV int4")),
            ("3 · Weights", ("W4A16", "")),
            ("4 · Both", ("W4A16 + KV int8", "W4A16 + KV int4")),
        ),
        "weak": ("not even this is good enough", ("fine-tune, or take a larger model",)),
        "rule": (
            "The rule",
            (
                "↗ keeps what you ask for: try the next step",
                "↙ loses too much: go back, use the step before",
                "a step that fails ends the way",
            ),
        ),
    },
    "zh": {
        "title": "阶梯：向上四步，某一步损失过大就退回一步",
        "steps": (
            ("1 · 基线", ("原样运行", "能满足任务吗？")),
            ("2 · KV 缓存", ("KV int8", "KV int4")),
            ("3 · 权重", ("W4A16", "")),
            ("4 · 两者一起", ("W4A16 + KV int8", "W4A16 + KV int4")),
        ),
        "weak": ("原样运行都达不到要求", ("微调，或换用更大的模型",)),
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
_WIDTH, _HEIGHT = 165, 90


def ladder(language: str) -> str:
    """Lesson 07: the source's four steps, the way up and the way back."""
    say = _LADDER[language]
    parts: list[Box | Arrow] = []
    for number, (name, lines) in enumerate(say["steps"]):
        x, y = 20 + 195 * number, 262 - 80 * number
        parts.append(Box(x, y, _WIDTH, _HEIGHT, name, lines, GREY if number == 0 else BLUE))
        if number:
            parts.append(Arrow(x - 80, y + 80, x - 2, y + 40))
            parts.append(Arrow(x + 70, y + _HEIGHT, x - 28, y + 130))
    parts += [
        Arrow(102, 352, 102, 378),
        Box(20, 380, 270, 60, say["weak"][0], say["weak"][1], ORANGE),
        Box(430, 330, 340, 110, say["rule"][0], say["rule"][1], "#fafafa"),
    ]
    return svg(790, 455, say["title"], parts)
