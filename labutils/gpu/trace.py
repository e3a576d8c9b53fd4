"""One decode step of an engine on a GPU taken apart: kernels, gaps, and the host's launching.

A step cannot be shorter than the time its kernels take, nor than the time the host needs to launch
them. Which of the two holds an engine back is read off a trace of PyTorch's profiler, which sees
the kernels of every library of the process. Tracing slows a step down; so the kernels' time is to
be compared with the time per token of an untraced run.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Interval = tuple[float, float]
"""Beginning and end in microseconds."""
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
SHOWN = 8
"""Kernels that are listed by name."""


def decode_step(run: Callable[[int], object], tokens: int = 32) -> dict[str, Any]:
    """Trace `run(tokens)` and give a step's figures, in milliseconds and counts.

    Args:
        run: decodes so many tokens of one sequence with a short prompt; the prefill counts as a
            step.
        tokens: steps to average over.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as traced:
        run(tokens)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        traced.export_chrome_trace(str(file))
        events = json.loads(file.read_text("utf-8"))["traceEvents"]
    return summary(events, tokens)


def summary(events: Iterable[dict[str, Any]], steps: int) -> dict[str, Any]:
    """A step's figures from the events of a Chrome trace.

    Returns:
        traced_ms (from the first kernel to the last), busy_ms (when any kernel runs), kernels (how
        many), launch_ms (the host's time in launch calls; None if the trace has none), and the
        kernels that take longest: name, calls and ms a step.
    """
    timed = [event for event in events if event.get("ph") == "X"]
    on_gpu = [event for event in timed if event.get("cat") in ON_GPU]
    launches = [event for event in timed if "launch" in event["name"].lower()]
    launches = [event for event in launches if str(event.get("cat")).startswith("cuda_")]
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in on_gpu)
    whole = max(end for _, end in spans) - spans[0][0] if spans else 0.0
    per_step = 1000 * steps
    return {
        "steps": steps,
        "traced_ms": round(whole / per_step, 4),
        "busy_ms": round(union(spans) / per_step, 4),
        "kernels": round(len(on_gpu) / steps, 1),
        "launch_ms": round(sum(e["dur"] for e in launches) / per_step, 4) if launches else None,
        "longest": _longest(on_gpu, steps),
    }


def union(spans: Iterable[Interval]) -> float:
    """Length covered by intervals, sorted by their beginnings, that may overlap."""
    covered, reached = 0.0, float("-inf")
    for begin, end in spans:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered


def _longest(events: Iterable[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    spent: dict[str, list[float]] = defaultdict(list)
    for event in events:
        spent[event["name"][:160]].append(event["dur"])
    most = sorted(spent, key=lambda name: -sum(spent[name]))[:SHOWN]
    return [
        {
            "name": name,
            "calls": round(len(spent[name]) / steps, 2),
            "ms": round(sum(spent[name]) / 1000 / steps, 4),
        }
        for name in most
    ]
