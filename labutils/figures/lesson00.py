"""Lesson 00's figures."""

from labutils.figures.draw import BLUE, GREY, ORANGE, Arrow, Box, svg

_PARTS = {
    "en": {
        "title": "The parts of LMDeploy",
        "fronts": (
            ("lmdeploy chat", "terminal"),
            ("pipeline", "Python"),
            ("lmdeploy serve", "HTTP, OpenAI protocol"),
        ),
        "shared": ("chat template and tokenizer", "text ⇄ tokens"),
        "turbomind": ("TurboMind", "C++ and CUDA"),
        "pytorch": ("PyTorch engine", "Python"),
        "gpu": ("NVIDIA GPU", ""),
        "cpu": ("GPUs and others; here CPUs too", ""),
        "lite": ("lmdeploy lite", "quantizes once,", "before serving"),
        "model": ("model folder", "weights, tokenizer,", "chat template"),
    },
    "zh": {
        "title": "LMDeploy 的组成部分",
        "fronts": (
            ("lmdeploy chat", "终端"),
            ("pipeline", "Python"),
            ("lmdeploy serve", "HTTP，OpenAI 协议"),
        ),
        "shared": ("对话模板与分词器", "文本 ⇄ 词元"),
        "turbomind": ("TurboMind", "C++ 与 CUDA"),
        "pytorch": ("PyTorch 引擎", "Python"),
        "gpu": ("NVIDIA GPU", ""),
        "cpu": ("GPU、其他加速卡；本课程还有 CPU", ""),
        "lite": ("lmdeploy lite", "部署之前", "量化一次"),
        "model": ("模型文件夹", "权重、分词器、", "对话模板"),
    },
}


def parts(language: str) -> str:
    """Lesson 00: front ends, engines and devices, and where quantization comes in."""
    say = _PARTS[language]
    fronts = [
        Box(20 + 190 * n, 50, 170, 60, front[0], front[1:], GREY)
        for n, front in enumerate(say["fronts"])
    ]
    shared = Box(20, 140, 550, 60, say["shared"][0], say["shared"][1:])
    engines = [
        Box(20, 230, 260, 60, say["turbomind"][0], say["turbomind"][1:]),
        Box(310, 230, 260, 60, say["pytorch"][0], say["pytorch"][1:]),
    ]
    devices = [
        Box(20, 320, 260, 40, say["gpu"][0], (), ORANGE),
        Box(310, 320, 260, 40, say["cpu"][0], (), ORANGE),
    ]
    beside = [
        Box(620, 50, 160, 80, say["lite"][0], say["lite"][1:], GREY),
        Box(620, 220, 160, 80, say["model"][0], say["model"][1:], GREY),
    ]
    down = [Arrow(x, 110, x, 138) for x in (105, 295, 485)]
    down += [Arrow(x, y, x, y + 28) for x in (150, 440) for y in (200, 290)]
    sideways = [Arrow(700, 130, 700, 218), Arrow(620, 260, 580, 260)]
    frame = Box(10, 10, 780, 360, say["title"], (), "#fafafa")
    either = Box(12, 223, 566, 74, "", (), "white")
    boxes = [frame, *fronts, shared, either, *engines, *devices, *beside]
    return svg(800, 380, say["title"], [*boxes, *down, *sideways])


_TURBOMIND = {
    "en": {
        "title": "Inside TurboMind: one step after another, for ever",
        "queue": ("queue", "waiting requests"),
        "batch": ("running batch", "slot 1: request A", "slot 2: request B", "slot 3: free"),
        "layers": ("model layers", "attention kernels", "16- or 4-bit GEMM"),
        "sampling": ("sampling", "one token", "per slot"),
        "manager": ("sequence manager", "which blocks hold which tokens"),
        "pool": ("KV cache: a pool of blocks, 64 tokens each",),
        "enter": "enter",
        "again": "next step; finished requests leave their slots and blocks",
    },
    "zh": {
        "title": "TurboMind 内部：一步接一步，永不停止",
        "queue": ("队列", "等待的请求"),
        "batch": ("运行中的批次", "位置 1：请求 A", "位置 2：请求 B", "位置 3：空闲"),
        "layers": ("模型各层", "注意力算子", "16 位或 4 位矩阵乘法"),
        "sampling": ("采样", "每个位置", "一个词元"),
        "manager": ("序列管理器", "哪些块存放哪些词元"),
        "pool": ("KV 缓存：由块组成的显存池，每块 64 个词元",),
        "enter": "进入",
        "again": "下一步；完成的请求让出位置和块",
    },
}


def turbomind(language: str) -> str:
    """Lesson 00: queue, running batch, layers, and the block pool that serves them."""
    say = _TURBOMIND[language]
    boxes = [
        Box(30, 95, 130, 100, say["queue"][0], say["queue"][1:], GREY),
        Box(220, 95, 160, 100, say["batch"][0], say["batch"][1:]),
        Box(430, 95, 160, 100, say["layers"][0], say["layers"][1:], ORANGE),
        Box(640, 95, 120, 100, say["sampling"][0], say["sampling"][1:]),
        Box(30, 260, 250, 66, say["manager"][0], say["manager"][1:]),
        Box(330, 240, 430, 100, say["pool"][0], (), "#fafafa"),
    ]
    blocks = [
        Box(345 + 42 * n, 280, 34, 44, label, (), fill)
        for n, (label, fill) in enumerate(
            zip(
                "AABABB    ",
                [BLUE, BLUE, ORANGE, BLUE, ORANGE, ORANGE] + 4 * ["white"],
                strict=True,
            )
        )
    ]
    arrows = [
        Arrow(160, 145, 218, 145, say["enter"]),
        Arrow(380, 145, 428, 145),
        Arrow(590, 145, 638, 145),
        Arrow(700, 76, 300, 76, say["again"]),
        Arrow(510, 195, 510, 238),
        Arrow(280, 293, 328, 293),
    ]
    frame = Box(10, 10, 770, 345, say["title"], (), "#fafafa")
    return svg(790, 365, say["title"], [frame, *boxes, *blocks, *arrows])
