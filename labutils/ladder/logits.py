"""The baseline's logits on disk, which the other rungs are compared with, and that comparison.

A file a passage, in the dtype that they were computed in, so that nothing is lost: 192 tokens of a
vocabulary of 49,152 take 19 MB in bfloat16. They stay, because a rung may be added to a run later.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.ladder import distributions, stats
from labutils.ladder.results import Figure, Quality

FOLDER = "logits"
MARK = "complete"
"""Written last: the fingerprint of the baseline that they are of."""


def complete(folder: Path, fingerprint: str) -> bool:
    """Whether the logits of the baseline with this fingerprint are there, all of them."""
    mark = folder / MARK
    return mark.is_file() and mark.read_text(encoding="utf-8").strip() == fingerprint


def finish(folder: Path, fingerprint: str) -> None:
    """Say that all logits of this baseline are there."""
    write_atomically(folder / MARK, fingerprint + "\n")


def keeping(found: Iterable[Any], folder: Path) -> Iterator[Any]:
    """Write each passage's logits to an empty folder, and pass them on.

    Args:
        found: of each passage, torch tensors [tokens, vocabulary].
        folder: emptied first.
    """
    from safetensors.torch import save_file

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, each in enumerate(found):
        save_file({"logits": each.contiguous()}, folder / f"{number:03}.safetensors")
        yield each


def kept(folder: Path, number: int) -> np.ndarray:
    """The logits of one passage in float32.

    Raises:
        LabError: they are not there.
    """
    from safetensors.torch import load_file

    file = folder / f"{number:03}.safetensors"
    if not file.is_file():
        raise LabError(f"The baseline's logits {file} are gone: delete its result and run again.")
    return load_file(file)["logits"].float().numpy()


def quality(
    logits: Iterable[Any], passages: Sequence[Sequence[int]], baseline: Path | None
) -> Quality:
    """Perplexity, and the distances from the baseline.

    Args:
        logits: of each passage, torch tensors [tokens − 1, vocabulary].
        passages: token ids.
        baseline: the folder of the baseline's logits; None does not compare.

    Raises:
        LabError: the baseline's logits are not of the same tokens and vocabulary.
    """
    losses, before, divergences, agreements = [], [], [], []
    for number, (found, passage) in enumerate(zip(logits, passages, strict=True)):
        ours = found.float().numpy()
        losses.append(distributions.cross_entropy(ours, passage[1:]))
        if baseline is not None:
            theirs = kept(baseline, number)
            _check_same(theirs, ours)
            before.append(distributions.cross_entropy(theirs, passage[1:]))
            divergences.append(distributions.kl_divergence(theirs, ours))
            agreements.append(distributions.top1_agrees(theirs, ours))
    perplexity = Figure.of(distributions.perplexity(losses), "")
    if baseline is None:
        return Quality(perplexity=perplexity)
    return Quality(
        kl_mean=_not_negative(stats.mean(divergences)),
        kl_p99=Figure(distributions.percentile_99(divergences), "nats"),
        top1_agreement=Figure.of(stats.share(agreements), "share"),
        perplexity=perplexity,
        perplexity_ratio=Figure.of(distributions.perplexity_ratio(before, losses), ""),
    )


def _not_negative(divergence: stats.Estimate) -> Figure:
    """A divergence has no values below 0, which a symmetric interval may reach."""
    return Figure(divergence.value, "nats", low=max(0.0, divergence.low), high=divergence.high)


def _check_same(theirs: np.ndarray, ours: np.ndarray) -> None:
    if theirs.shape != ours.shape:
        raise LabError(
            f"The rung's logits are {ours.shape} and the baseline's {theirs.shape}: its model has "
            "another vocabulary, so compare it in a run of its own."
        )
