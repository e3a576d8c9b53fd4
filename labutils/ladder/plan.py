"""How much a run measures: items, tokens, repeats. The sizes of a full run and of `--quick`.

With the course's own model on two CPU cores (measured): an engine takes 10 s to start; answers cost
2 s for 16 items, twice that with the KV cache in 4 bits; a passage of 256 tokens a quarter of a
second; a speed run at concurrency 16 three seconds. So a full run asks all items, and `--quick`,
which is to end in minutes, asks 16 of each category and times shorter answers.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from labutils.ladder.items import Item


@dataclass(frozen=True)
class Plan:
    """Sizes of every measurement, the same for all rungs of a run."""

    per_category: int | None = None
    """Items of each category and language; None asks all."""
    new_tokens: int = 32
    """After which a reply ends."""
    passages: int = 16
    passage_tokens: int = 256
    """Of one document each: independent passages are what an interval rests on."""
    concurrency: tuple[int, ...] = (1, 4, 16)
    gpu_concurrency: tuple[int, ...] = (64,)
    """Added on a GPU."""
    prompt_tokens: int = 128
    decoded_tokens: int = 32
    """Of each request whose speed is measured."""
    gpu_decoded_tokens: int = 256
    """The same on a GPU, which makes a few dozen tokens before their first piece is looked at."""
    repeats: int = 3
    session_len: int = 2048
    dtype: str = "auto"
    calibration_samples: int = 16
    calibration_tokens: int = 512
    seed: int = 0
    """Of the choice of items."""

    def settings(self) -> dict[str, str]:
        """What decides a rung's figures, as `results.Conditions` keeps it."""
        return {name: str(value) for name, value in asdict(self).items() if name != "seed"}

    def on(self, kind: str) -> "Plan":
        """The sizes on a device, 'cpu' or 'cuda': a GPU gets more requests and longer answers."""
        if kind != "cuda":
            return self
        concurrency = (*self.concurrency, *self.gpu_concurrency)
        return replace(self, concurrency=concurrency, decoded_tokens=self.gpu_decoded_tokens)


FULL = Plan()
QUICK = replace(
    FULL,
    per_category=16,
    passages=8,
    passage_tokens=192,
    decoded_tokens=12,
    gpu_decoded_tokens=128,
    repeats=2,
    calibration_samples=4,
)


def chosen(items: Sequence[Item], per_category: int | None, seed: int = 0) -> list[Item]:
    """Equally many items of each category and language, in the order of the file.

    A smaller choice is part of a larger one: what `--quick` asks, the full run asks, too.
    """
    groups = defaultdict(list)
    for item in items:
        groups[item.category, item.language].append(item)
    kept = {
        item.id
        for group in groups.values()
        for item in sorted(group, key=lambda each: _rank(each, seed))[:per_category]
    }
    return [item for item in items if item.id in kept]


def _rank(item: Item, seed: int) -> str:
    return hashlib.sha256(f"{seed} {item.id}".encode()).hexdigest()
