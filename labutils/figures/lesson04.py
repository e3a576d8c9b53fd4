"""Lesson 04's figure."""

from labutils.figures.draw import GREY, ORANGE, Arrow, Box, svg

_SERVING = {
    "en": {
        "title": "Serving: every client speaks HTTP; the engine serves all of them at once",
        "clients": (
            ("openai client", "Python"),
            ("curl", "terminal"),
            ("chat panel", "notebook, browser"),
        ),
        "proxy": ("serve proxy", "optional: shares", "requests out"),
        "front": ("api_server", "chat template", "tokenizer", "streams answers"),
        "engine": ("engine", "running batch", "KV blocks"),
        "other": ("a second server", "another GPU", "or machine"),
        "http": "HTTP",
        "tokens": "tokens",
    },
    "zh": {
        "title": "服务：客户端都说 HTTP，推理引擎同时为所有人服务",
        "clients": (
            ("openai 客户端", "Python"),
            ("curl", "终端"),
            ("聊天面板", "notebook、浏览器"),
        ),
        "proxy": ("serve proxy", "可选：", "分发请求"),
        "front": ("api_server", "对话模板", "分词器", "流式返回"),
        "engine": ("推理引擎", "运行中的批次", "KV 块"),
        "other": ("第二个服务器", "另一块 GPU", "或另一台机器"),
        "http": "HTTP",
        "tokens": "词元",
    },
}


def serving(language: str) -> str:
    """Lesson 04: clients, proxy, servers, and where the engine is."""
    say = _SERVING[language]
    clients = [
        Box(30, 50 + 82 * n, 140, 64, client[0], client[1:], GREY)
        for n, client in enumerate(say["clients"])
    ]
    servers = [
        Box(240, 116, 130, 82, say["proxy"][0], say["proxy"][1:]),
        Box(440, 60, 140, 98, say["front"][0], say["front"][1:]),
        Box(640, 70, 120, 82, say["engine"][0], say["engine"][1:], ORANGE),
        Box(440, 200, 140, 78, say["other"][0], say["other"][1:], GREY),
    ]
    arrows = [
        Arrow(170, 82, 238, 135, say["http"]),
        Arrow(170, 164, 238, 157),
        Arrow(170, 246, 238, 180),
        Arrow(370, 145, 438, 110),
        Arrow(370, 170, 438, 230),
        Arrow(580, 108, 638, 108, say["tokens"]),
    ]
    frame = Box(10, 10, 770, 295, say["title"], (), "#fafafa")
    return svg(790, 315, say["title"], [frame, *clients, *servers, *arrows])
