"""Everything that is measured of one rung, in one process: memory, answers, speed, logits.

In this order, because getting logits spoils LMDeploy's next answer, and so that what most often
fails comes first. Only a rung that was measured to its end leaves a result.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.folders import linear_weights, read_config
from labutils.ladder import data, engine, logits, memory, results, speed
from labutils.ladder.plan import chosen
from labutils.ladder.results import Memory, Quality, Result, Speed
from labutils.ladder.task import Failure, Pipe, Progress, Task

SHARES = {"engine": 0.2, "answers": 0.5, "speed": 0.25, "logits": 0.05}
"""Of the time that a rung takes, in order; for the time left."""


def work(task: Task, pipe: Pipe) -> int:
    """Measure, and write the rung's result; the exit code."""
    shares = list(SHARES.items())

    def tell(name: str, done: float = 0.0, detail: str = "") -> None:
        before = sum(share for _, share in shares[: list(SHARES).index(name)])
        pipe.send(Progress(f"{name} {detail}".strip(), before + done * SHARES[name]))

    begun = time.monotonic()
    tell("engine")
    try:
        rung = _Rung(task)
    except Exception as error:
        pipe.send(refusal(error))
        raise
    result = rung.measure(tell)
    result = replace(result, seconds=time.monotonic() - begun)
    results.write(Path(task.run) / "rungs" / f"{task.name}.json", result)
    return 0


def refusal(error: Exception) -> Failure:
    """How an engine's refusal to start counts, in its own words."""
    words = f"{error}" if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    exhausted = isinstance(error, MemoryError) or "out of memory" in words.lower()
    return Failure("out of memory" if exhausted else "unsupported", words.strip()[:2000])


class _Rung:
    """A rung's engine, started, with what was known before."""

    def __init__(self, task: Task) -> None:
        import torch
        from transformers import AutoTokenizer

        from labutils.device import find_device

        device = find_device()
        self.task, self.plan, self.kind = task, task.plan.on(device.kind), device.kind
        self.run = Path(task.run)
        self.dtype = _dtype(task, device.kind)
        self.items = chosen(
            data.items([Path(file) for file in task.data]),
            self.plan.per_category,
            self.plan.seed,
        )
        self.tokenizer = AutoTokenizer.from_pretrained(task.model, trust_remote_code=True)
        self.concurrency = self.plan.concurrency
        self.batch = max(self.concurrency)
        about = task.conditions.machine
        self.limits = speed.limits(self.run / "limits.json", device.kind, self.dtype, about)
        itemsize = getattr(torch, self.dtype).itemsize
        budget = memory.Budget(device.kind, device.engine == "TurboMind", itemsize, self.batch)
        self.free = memory.free_bytes(device.kind)
        self.predicted = memory.predict(Path(task.model), task.quant_policy, budget, self.free)
        self.pipe = engine.start(task.model, task.quant_policy, self.plan, self.batch)

    def measure(self, tell: Callable) -> Result:
        """All of it, in the module's order."""
        found = memory.measure(self.pipe, self.predicted, self.free)
        total = len(self.items)
        answers = engine.answers(
            self.pipe,
            self.items,
            self.plan,
            self.batch,
            lambda n: tell("answers", n / total, f"{n}/{total}"),
        )
        speeds = tuple(self._speeds(found, tell))
        distances = self._distances(tell)
        return Result(
            name=self.task.name,
            status="ok",
            message="",
            model=self.task.title,
            conditions=self.task.conditions,
            command=self.task.command,
            started=self.task.started,
            seconds=0.0,
            quality=replace(distances, answers=answers),
            memory=found,
            predicted=self.predicted,
            speed=speeds,
        )

    def _speeds(self, found: Memory, tell: Callable) -> Iterator[Speed]:
        prompts = _prompts(self._passages(self.plan.prompt_tokens, 10**6), self.tokenizer)
        tokens = self.plan.prompt_tokens + self.plan.decoded_tokens / 2
        parameters = _parameters(Path(self.task.model))
        for number, concurrency in enumerate(self.concurrency):
            tell("speed", number / len(self.concurrency), f"× {concurrency}")
            fastest = speed.step_limit(self.limits, found, parameters, concurrency, tokens)
            yield speed.measure(self.pipe, prompts, concurrency, self.plan, fastest)

    def _distances(self, tell: Callable) -> Quality:
        passages = self._passages(self.plan.passage_tokens, self.plan.passages)
        folder = self.run / logits.FOLDER
        found = engine.logits(self.pipe, passages)
        found = _told(found, len(passages), lambda n: tell("logits", n / len(passages)))
        if self.task.keep:
            found = logits.keeping(found, folder)
        quality = logits.quality(found, passages, folder if self.task.against else None)
        if self.task.keep:
            logits.finish(folder, results.fingerprint(self.task.name, self.task.conditions))
        return quality

    def _passages(self, length: int, count: int) -> list[list[int]]:
        texts = data.passages(self.task.languages)
        return data.tokens(texts, self.tokenizer, count, length)


def _dtype(task: Task, kind: str) -> str:
    """The engine's dtype by name: what was asked for, or its own choice."""
    if task.plan.dtype != "auto":
        return task.plan.dtype
    if kind == "cpu":
        return "bfloat16"
    config = read_config(Path(task.model))
    asked = config.get("dtype") or config.get("torch_dtype")
    return asked if asked in ("float16", "bfloat16") else "float16"


def _parameters(model: Path) -> float:
    """Numbers that each token is multiplied with: linear layers and, once, the output layer."""
    config = read_config(model)
    return linear_weights(config) + config["vocab_size"] * config["hidden_size"]


def _prompts(passages: Sequence[Sequence[int]], tokenizer: Any) -> Callable[[int], list[str]]:
    """Gives texts of these passages, in turn."""
    texts = cycle([tokenizer.decode(ids) for ids in passages])
    return lambda count: list(islice(texts, count))


def _told(found: Iterable[Any], total: int, tell: Callable[[int], None]) -> Iterator[Any]:
    for number, each in enumerate(found):
        tell(number)
        yield each
