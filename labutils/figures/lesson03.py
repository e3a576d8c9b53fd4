"""Lesson 03's figure."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, svg

_LOCAL_CHAT = {
    "en": {
        "title": "Local chat: everything runs in one process on one machine",
        "process": "one process on one machine (no server)",
        "front": ("keyboard", "your message"),
        "pipeline": ("pipeline", "chat template", "tokenizer"),
        "engine": ("engine", "scheduler", "KV cache"),
        "model": ("model", "weights", "→ next token"),
        "text": "text",
        "tokens": "tokens",
        "batch": "batch",
        "back": "one piece of the answer per decode step",
    },
    "zh": {
        "title": "本地对话：一切都在同一台机器的同一个进程里",
        "process": "一台机器上的一个进程（没有服务器）",
        "front": ("键盘", "你的消息"),
        "pipeline": ("pipeline", "对话模板", "分词器"),
        "engine": ("推理引擎", "调度器", "KV 缓存"),
        "model": ("模型", "权重", "→ 下一个词元"),
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
        Box(30 + 190 * n, 60, 130, 90, say[key][0], say[key][1:], fill)
        for n, (key, fill) in enumerate(columns)
    ]
    forward = [
        Arrow(160 + 190 * n, 105, 220 + 190 * n, 105, say[key])
        for n, key in enumerate(("text", "tokens", "batch"))
    ]
    frame = Box(10, 10, 740, 190, say["process"], (), "#fafafa")
    return svg(
        760, 210, say["title"], [frame, *boxes, *forward, Arrow(730, 178, 40, 178, say["back"])]
    )
