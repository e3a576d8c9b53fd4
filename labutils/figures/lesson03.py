"""Lesson 03's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, Label, svg

_LOCAL_CHAT = {
    "en": {
        "title": "Local chat: one process on one machine, no server",
        "front": ("keyboard", "your", "message"),
        "pipeline": ("pipeline", "template,", "tokenizer"),
        "engine": ("engine", "scheduler,", "KV cache"),
        "model": ("model", "weights", "→ token"),
        "text": "text",
        "tokens": "tokens",
        "batch": "batch",
        "back": "one piece of the answer per decode step",
    },
    "zh": {
        "title": "本地对话：一台机器上的一个进程，没有服务器",
        "front": ("键盘", "你的消息"),
        "pipeline": ("pipeline", "对话模板、", "分词器"),
        "engine": ("推理引擎", "调度器、", "KV 缓存"),
        "model": ("模型", "权重", "→ 词元"),
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
        Box(12 + 133 * n, 52, 97, 84, say[key][0], say[key][1:], fill)
        for n, (key, fill) in enumerate(columns)
    ]
    arrows = [Arrow(109 + 133 * n, 94, 143 + 133 * n, 94) for n in range(3)]
    labels = [
        Label(127 + 133 * n, 156, say[key]) for n, key in enumerate(("text", "tokens", "batch"))
    ]
    back = Arrow(498, 188, 22, 188, say["back"])
    return svg(520, 210, say["title"], [*boxes, *arrows, *labels, back])
