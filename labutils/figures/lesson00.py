"""Lesson 00's figures."""

from labutils.figures.draw import BLUE, GREEN, GREY, ORANGE, Arrow, Box, Label, svg

_PARTS = {
    "en": {
        "title": "The parts of LMDeploy",
        "fronts": (
            ("terminal", "lmdeploy chat"),
            ("Python", "pipeline"),
            ("HTTP", "lmdeploy serve"),
        ),
        "shared": ("chat template and tokenizer", "text ⇄ tokens"),
        "turbomind": ("TurboMind", "C++ and CUDA"),
        "pytorch": ("PyTorch engine", "Python"),
        "gpu": ("NVIDIA GPU",),
        "cpu": ("GPUs and others", "here CPUs too"),
        "lite": ("lmdeploy lite", "quantizes once,", "before serving"),
        "model": ("model folder", "weights, tokenizer,", "chat template"),
    },
    "zh": {
        "title": "LMDeploy 的组成部分",
        "fronts": (
            ("终端", "lmdeploy chat"),
            ("Python", "pipeline"),
            ("HTTP", "lmdeploy serve"),
        ),
        "shared": ("对话模板与分词器", "文本 ⇄ 词元"),
        "turbomind": ("TurboMind", "C++ 与 CUDA"),
        "pytorch": ("PyTorch 引擎", "Python"),
        "gpu": ("NVIDIA GPU",),
        "cpu": ("GPU、其他加速卡", "本课程还有 CPU"),
        "lite": ("lmdeploy lite", "部署之前", "量化一次"),
        "model": ("模型文件夹", "权重、分词器、", "对话模板"),
    },
}


def parts(language: str) -> str:
    """Lesson 00: front ends, engines and devices, and where quantization comes in."""
    say = _PARTS[language]
    fronts = [
        Box(12 + 118 * n, 44, 110, 54, front[0], front[1:], GREY)
        for n, front in enumerate(say["fronts"])
    ]
    shared = Box(12, 128, 346, 54, say["shared"][0], say["shared"][1:])
    either = Box(12, 210, 346, 66, "", (), "white")
    engines = [
        Box(18, 216, 162, 54, say["turbomind"][0], say["turbomind"][1:]),
        Box(190, 216, 162, 54, say["pytorch"][0], say["pytorch"][1:]),
    ]
    devices = [
        Box(18, 304, 162, 54, say["gpu"][0], say["gpu"][1:], ORANGE),
        Box(190, 304, 162, 54, say["cpu"][0], say["cpu"][1:], ORANGE),
    ]
    beside = [
        Box(376, 88, 132, 74, say["lite"][0], say["lite"][1:], GREY),
        Box(376, 206, 132, 74, say["model"][0], say["model"][1:], GREY),
    ]
    down = [Arrow(x, 98, x, 126) for x in (67, 185, 303)]
    down += [Arrow(x, 182, x, 214) for x in (99, 271)] + [Arrow(x, 270, x, 302) for x in (99, 271)]
    sideways = [Arrow(442, 162, 442, 204), Arrow(376, 243, 360, 243)]
    boxes = [*fronts, shared, either, *engines, *devices, *beside]
    return svg(520, 372, say["title"], [*boxes, *down, *sideways])


_TURBOMIND = {
    "en": {
        "title": "Inside TurboMind: one step after another, for ever",
        "queue": ("queue", "waiting", "requests"),
        "batch": ("running batch", "slot 1: request A", "slot 2: request B", "slot 3: free"),
        "layers": ("model layers", "attention kernels", "16- or 4-bit GEMM"),
        "sampling": ("sampling", "one token", "per slot"),
        "manager": ("sequence manager", "which blocks hold", "which tokens"),
        "pool": "KV cache: blocks of 64 tokens",
        "again": "next step; finished requests leave",
    },
    "zh": {
        "title": "TurboMind 内部：一步接一步，永不停止",
        "queue": ("队列", "等待的", "请求"),
        "batch": ("运行中的批次", "槽位 1：请求 A", "槽位 2：请求 B", "槽位 3：空闲"),
        "layers": ("模型各层", "注意力算子", "16/4 位矩阵乘法"),
        "sampling": ("采样", "每个槽位", "一个词元"),
        "manager": ("序列管理器", "哪些块存放", "哪些词元"),
        "pool": "KV 缓存：每块 64 个词元",
        "again": "下一步；完成的请求让出槽位和块",
    },
}


def turbomind(language: str) -> str:
    """Lesson 00: queue, running batch, layers, and the block pool that serves them."""
    say = _TURBOMIND[language]
    boxes = [
        Box(12, 88, 84, 96, say["queue"][0], say["queue"][1:], GREY),
        Box(118, 88, 128, 96, say["batch"][0], say["batch"][1:]),
        Box(268, 88, 134, 96, say["layers"][0], say["layers"][1:], ORANGE),
        Box(424, 88, 84, 96, say["sampling"][0], say["sampling"][1:]),
        Box(12, 226, 164, 78, say["manager"][0], say["manager"][1:]),
        Box(198, 216, 310, 96, say["pool"], (), "white", frame=True),
    ]
    pool = zip("AABABB ", [BLUE, BLUE, ORANGE, BLUE, ORANGE, ORANGE, "white"], strict=True)
    blocks = [
        Box(208 + 42 * n, 256, 36, 40, label.strip(), (), fill)
        for n, (label, fill) in enumerate(pool)
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


_PAGING = {
    "en": {
        "title": "Paging: a sequence's blocks lie anywhere in the pool",
        "a": ("request A", "150 tokens"),
        "b": ("request B", "70 tokens"),
        "pool": "pool: blocks of 64 tokens",
        "same": "A and B begin alike: prefix caching lets them share block 1",
    },
    "zh": {
        "title": "分页：一个序列的块可以放在池里的任何地方",
        "a": ("请求 A", "150 个词元"),
        "b": ("请求 B", "70 个词元"),
        "pool": "块池：每块 64 个词元",
        "same": "A 和 B 开头相同：前缀缓存让它们共用 1 号块",
    },
}
_A = {"0–63": 1, "64–127": 5, "128–149": 3}
_B = {"0–63": 1, "64–69": 6}
"""Tokens of a request, and the block of the pool that holds them."""


def paging(language: str) -> str:
    """Lesson 00: two requests whose tokens lie in blocks of one pool."""
    say = _PAGING[language]
    fills = {block: GREEN if block in _B.values() else BLUE for block in _A.values()} | {6: ORANGE}
    parts: list[Box | Label | Arrow] = [
        Box(12 + 62 * block, 166, 56, 36, str(block), (), fills.get(block, "white"))
        for block in range(8)
    ]
    for who, tokens, y, start, end in (("a", _A, 48, 102, 164), ("b", _B, 266, 266, 204)):
        parts.append(Box(12, y, 112, 54, say[who][0], say[who][1:], GREY))
        for number, (span, block) in enumerate(tokens.items()):
            x = 142 + 122 * number
            parts.append(Box(x, y + 9, 112, 36, span, (), fills[block]))
            edge = start - 9 if who == "a" else start + 9
            parts.append(Arrow(x + 56, edge, 40 + 62 * block, end))
    parts += [Label(260, 226, say["pool"]), Label(260, 344, say["same"])]
    return svg(520, 358, say["title"], parts)
