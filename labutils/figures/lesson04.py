"""Lesson 04's figure."""

from labutils.figures.draw import GREY, ORANGE, Arrow, Box, Label, svg

_SERVING = {
    "en": {
        "title": "Every client speaks HTTP; an engine serves many at once",
        "clients": (
            ("openai", "Python"),
            ("curl", "terminal"),
            ("chat panel", "browser"),
        ),
        "proxy": ("serve proxy", "optional:", "shares out"),
        "front": ("api_server", "template, tokenizer,", "streams answers"),
        "engine": ("engine", "batch, KV blocks"),
        "other": ("a second server", "another GPU or machine"),
        "http": "HTTP",
        "tokens": "tokens",
    },
    "zh": {
        "title": "客户端都用 HTTP，推理引擎同时为很多人服务",
        "clients": (
            ("openai", "Python"),
            ("curl", "终端"),
            ("聊天面板", "浏览器"),
        ),
        "proxy": ("serve proxy", "可选：", "分发请求"),
        "front": ("api_server", "对话模板、分词器、", "流式返回"),
        "engine": ("推理引擎", "批次、KV 块"),
        "other": ("第二个服务器", "另一块 GPU 或另一台机器"),
        "http": "HTTP",
        "tokens": "词元",
    },
}


def serving(language: str) -> str:
    """Lesson 04: clients, proxy, servers, and where the engine is."""
    say = _SERVING[language]
    clients = [
        Box(12, 52 + 78 * n, 118, 54, client[0], client[1:], GREY)
        for n, client in enumerate(say["clients"])
    ]
    servers = [
        Box(178, 119, 112, 76, say["proxy"][0], say["proxy"][1:]),
        Box(330, 46, 178, 168, "", (), "white"),
        Box(338, 54, 162, 74, say["front"][0], say["front"][1:]),
        Box(338, 152, 162, 54, say["engine"][0], say["engine"][1:], ORANGE),
        Box(330, 228, 178, 54, say["other"][0], say["other"][1:], GREY),
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
