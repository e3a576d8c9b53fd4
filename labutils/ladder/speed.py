"""Speed of one rung: TTFT, TPOT and tokens/s with several requests at a time, and how much of what
the machine allows that is.

Requests are of equal length and arrive together, so TTFT is that of a burst, not of a queue. A
decode step cannot take less time than it takes to read the weights and the KV cache from memory,
nor than the multiplications take: the longer of the two is the limit that TPOT is held against.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.ladder.plan import Plan
from labutils.ladder.records import read_record, write_record
from labutils.ladder.results import Figure, Memory, Speed

LIMITS = "lmdeploy-lab ladder limits 1"


@dataclass(frozen=True)
class Machine:
    """The two limits of this machine, see `labutils.limits`."""

    bandwidth: float
    """Bytes/s, read and written both counted."""
    matrix_rate: float
    """Floating-point operations/s in the engine's dtype."""
    about: dict[str, str]
    """The machine and dtype that they are of."""
    format: str = LIMITS


def limits(file: Path, kind: str, dtype: str, about: dict[str, str]) -> Machine:
    """The limits in a file if they are of this machine, else measured and kept in it."""
    about = {**about, "dtype": dtype}
    if file.is_file():
        found = read_record(file, Machine, LIMITS)
        if found.about == about:
            return found
    import torch

    from labutils.limits import copy_bandwidth, matrix_rate

    rate = matrix_rate(kind, getattr(torch, dtype)).rate
    measured = Machine(copy_bandwidth(kind).rate, rate, about)
    if kind == "cuda":
        torch.cuda.empty_cache()
    write_record(file, measured)
    return measured


@dataclass(frozen=True)
class Run:
    """One burst of requests; seconds."""

    ttft: float
    """Median over the requests."""
    tpot: float
    throughput: float
    """Tokens/s, from the first request to the last token."""


def burst(pipe: Any, prompts: Sequence[str], tokens: int) -> Run:
    """Send all prompts at once, let each decode `tokens` tokens, and time their arrival.

    Raises:
        LabError: as `timed`.
    """
    from lmdeploy import GenerationConfig

    wanted = GenerationConfig(max_new_tokens=tokens, do_sample=False, ignore_eos=True)
    start = time.perf_counter()
    pieces = pipe.stream_infer(list(prompts), gen_config=wanted, do_preprocess=False)
    return timed(
        [(p.index, time.perf_counter() - start, p.generate_token_len) for p in pieces], tokens
    )


def timed(arrivals: Sequence[tuple[int, float, int]], tokens: int) -> Run:
    """A burst's figures.

    Args:
        arrivals: of each piece its request, its seconds, and how many tokens the request has then.
        tokens: that each request is to have at the end.

    Raises:
        LabError: a request has fewer, or all of every request came in one piece.
    """
    first: dict[int, tuple[float, int]] = {}
    last: dict[int, tuple[float, int]] = {}
    for request, moment, count in arrivals:
        first.setdefault(request, (moment, count))
        last[request] = moment, count
    if fewest := [count for _, count in last.values() if count != tokens]:
        raise LabError(
            f"The engine ended a request after {min(fewest)} of {tokens} tokens: its log says why."
        )
    steps = [
        (last[n][0] - moment) / (tokens - count)
        for n, (moment, count) in first.items()
        if count < tokens
    ]
    if not steps:
        raise LabError(f"All {tokens} tokens came in one piece: decode more to time a step.")
    whole = max(moment for moment, _ in last.values())
    ttft = statistics.median(moment for moment, _ in first.values())
    return Run(ttft, statistics.median(steps), tokens * len(last) / whole)


def measure(
    pipe: Any,
    prompts: Callable[[int], Sequence[str]],
    concurrency: int,
    plan: Plan,
    fastest_step: float,
) -> Speed:
    """The median of several bursts, with slowest and fastest; answers have warmed the engine up.

    Args:
        prompts: gives so many prompts, other ones at every call.
        fastest_step: seconds that a decode step takes at least, see `step_limit`.
    """
    runs = [
        burst(pipe, prompts(concurrency), plan.decoded_tokens) for _ in range(max(1, plan.repeats))
    ]
    tpot = _figure([run.tpot for run in runs], "seconds")
    return Speed(
        concurrency,
        ttft=_figure([run.ttft for run in runs], "seconds"),
        tpot=tpot,
        throughput=_figure([run.throughput for run in runs], "tokens/s"),
        limit_share=Figure(fastest_step / tpot.value, "share"),
    )


def step_limit(
    machine: Machine, memory: Memory, parameters: float, sequences: int, tokens: float
) -> float:
    """Seconds that a decode step takes at least.

    Args:
        parameters: that every token is multiplied with.
        sequences: decoded together.
        tokens: of context of each, on average.
    """
    from labutils.limits import step_seconds

    read = memory.weights.value + sequences * tokens * memory.kv_per_token.value
    return max(step_seconds(read, parameters * sequences, machine.bandwidth, machine.matrix_rate))


def _figure(values: Sequence[float], unit: str) -> Figure:
    return Figure(statistics.median(values), unit, low=min(values), high=max(values))
