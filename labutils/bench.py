"""`lab bench`: how fast this machine decodes and prefills, beside Hugging Face `generate`.

Both engines load the same model in bfloat16, each in its own process (LMDeploy also with its KV
cache or its weights quantized, if asked), and are timed in turn
(Hugging Face, LMDeploy, Hugging Face, LMDeploy, …), so that a machine whose speed drifts still
gives a fair ratio. A figure is the median of its runs; the ratio is the median of the ratios of
neighbours, with the smallest and the largest beside it.

- Prefill: prompt tokens of the whole batch / seconds until every sequence has one token.
- Decode: batch × n / (seconds for 1 + n tokens − seconds for 1 token).

Then one decode step at batch 1 is taken apart into milliseconds. A benchmark, not a test: nothing
passes or fails here.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

Runner = Callable[[int, int], tuple[float, int]]
"""(batch, new tokens) → (seconds, prompt tokens of the whole batch)."""
KV = {"none": 0, "int8": 8, "int4": 4}
"""quant_policy by the name of the cache's format."""


@dataclass(frozen=True)
class Setup:
    """What LMDeploy runs."""

    folder: str
    weights: str
    """bf16 or w4a16."""
    kv: str
    """One of KV."""


def main(args: argparse.Namespace) -> None:
    """Run the benchmark and print a table, or JSON."""
    from labutils.models import model_path

    model = model_path(args.model)
    folders = {"bf16": model} | ({"w4a16": args.quantized} if args.quantized else {})
    setups = [Setup(folder, name, kv) for name, folder in folders.items() for kv in args.kv]
    rows, steps = measure(model, setups, args.batch, args.prompt, args.decode, args.repeats)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(render(rows, steps))


def measure(
    model: str, setups: list[Setup], batches: list[int], prompt: int, decode: int, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Time both engines.

    Args:
        model: model folder of Hugging Face's runs.
        setups: LMDeploy's, each compared with these.
        batches: batch sizes.
        prompt: prompt tokens of each sequence.
        decode: tokens decoded after the first.
        repeats: paired runs.

    Returns:
        One row per setup and batch size (the interface of `lab bench --json`, with spreads), and
        the milliseconds of the first setup's decode step by part.
    """
    rows, steps = [], {}
    with _worker(_huggingface, model, prompt) as hf:
        for setup in setups:
            with _worker(_lmdeploy, setup.folder, prompt, KV[setup.kv]) as engine:
                names = {"engine": "lmdeploy-cpu", "weights": setup.weights, "kv": setup.kv}
                rows += [names | _row(hf, engine, batch, decode, repeats) for batch in batches]
                if not steps:
                    engine.send(("profile", decode))
                    steps = _received(engine)
    return rows, steps


def _row(
    hf: Connection, engine: Connection, batch: int, decode: int, repeats: int
) -> dict[str, Any]:
    """Paired timings of one batch size."""
    speeds: dict[str, list[tuple[float, float]]] = {"hf": [], "engine": []}
    for repeat in range(repeats + 1):  # the first pair warms up and is not counted
        for name, connection in (("hf", hf), ("engine", engine)):
            first, prompt_tokens = _timed(connection, batch, 1)
            whole, _ = _timed(connection, batch, 1 + decode)
            if repeat:
                speeds[name].append((prompt_tokens / first, batch * decode / (whole - first)))
    row: dict[str, Any] = {"batch": batch}
    for index, phase in enumerate(("prefill", "decode")):
        ours = [pair[index] for pair in speeds["engine"]]
        theirs = [pair[index] for pair in speeds["hf"]]
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        row[f"{phase}_tok_s"] = round(statistics.median(ours), 1)
        row[f"{phase}_vs_hf"] = round(statistics.median(ratios), 2)
        row[f"{phase}_vs_hf_spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return row


def render(rows: list[dict[str, Any]], steps: dict[str, float]) -> str:
    """The figures as text."""
    lines = ["weights  KV    batch  phase    tokens/s   × Hugging Face generate (smallest–largest)"]
    for row in rows:
        for phase in ("prefill", "decode"):
            low, high = row[f"{phase}_vs_hf_spread"]
            lines.append(
                f"{row['weights']:8} {row['kv']:5} {row['batch']:5}  {phase:8}"
                f"{row[f'{phase}_tok_s']:9.1f}   "
                f"{row[f'{phase}_vs_hf']:.2f} ({low:.2f}–{high:.2f})"
            )
    lines += ["", "one decode step at batch 1      ms     %"]
    total = sum(steps.values())
    lines += [f"  {part:26}{ms:7.2f}{100 * ms / total:6.1f}" for part, ms in steps.items()]
    return "\n".join([*lines, f"  {'together':26}{total:7.2f} 100.0", "(measured on this machine)"])


# --- the two engines, each in a process -------------------------------------------------------


@contextmanager
def _worker(engine: Callable, *arguments: Any) -> Iterator[Connection]:
    """A process that loads an engine and answers timing requests; ended on the way out."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=engine, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        _received(ours)
        yield ours
    finally:
        ours.close()
        process.join(20)
        process.kill()


def _received(connection: Connection) -> Any:
    """The worker's next answer; a worker that died says so."""
    from labutils.errors import LabError

    try:
        return connection.recv()
    except EOFError:
        raise LabError("An engine process died while it was timed; its message is above.") from None


def _timed(connection: Connection, batch: int, tokens: int) -> tuple[float, int]:
    connection.send((batch, tokens))
    return _received(connection)


def _serve(connection: Connection, run: Runner, profile: Callable | None = None) -> None:
    """Answer requests until the other end closes."""
    connection.send("ready")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request[0] == "profile":
            connection.send(profile(request[1]))
        else:
            connection.send(run(*request))


def _huggingface(connection: Connection, model: str, prompt: int) -> None:
    """Worker: Transformers' generate in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    from labutils.corpus import Passages

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    passages = Passages(model)

    def run(batch: int, tokens: int) -> tuple[float, int]:
        ids = torch.tensor([passages.ids(prompt) for _ in range(batch)])
        start = time.perf_counter()
        loaded.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
        )
        return time.perf_counter() - start, ids.numel()

    _serve(connection, run)


def _lmdeploy(connection: Connection, model: str, prompt: int, quant_policy: int) -> None:
    """Worker: LMDeploy's pipeline on this machine's device."""
    from lmdeploy import pipeline

    from labutils.device import engine_config
    from labutils.gpu.worker import Bench

    sys.stdout = sys.stderr  # the parent's standard output is for figures only
    config = engine_config(session_len=prompt + 512, max_batch_size=32, quant_policy=quant_policy)
    pipe = pipeline(model, backend_config=config, log_level="ERROR")
    timings = Bench(pipe, model, seed=0)

    def run(batch: int, tokens: int) -> tuple[float, int]:
        return timings.timed(batch, prompt, tokens)[:2]

    _serve(connection, run, lambda tokens: step_parts(run, tokens))
    pipe.close()


# --- one decode step taken apart ----------------------------------------------------------------

REPEATS = 20
"""Runs of each kind of instruction; the median counts."""


def step_parts(run: Runner, tokens: int) -> dict[str, float]:
    """Milliseconds of one decode step at batch 1, by part.

    The recorded step's instructions are run again, each kind by itself, on the last step's
    sequences; the output layer and the whole forward pass are timed as they happen.
    """
    from lmdeploy.pytorch.engine.model_agent.agent import BaseModelAgent

    from labutils.cpu.recording import Program

    calls = [
        (BaseModelAgent, "_forward_impl"),
        (BaseModelAgent, "get_logits"),
        (Program, "replay"),
    ]
    with _watched(calls) as seen:
        one, _ = run(1, 1)
        several, _ = run(1, 1 + tokens)
    forward, output, replay = ([seconds for seconds, _ in seen[name]] for _, name in calls)
    if not replay:  # LMDEPLOY_CPU_KERNELS=0
        return {"engine and model": (several - one) / tokens * 1000}
    steps = {"output layer": statistics.median(output) * 1000}
    steps |= _by_kind(*seen["replay"][-1][1])
    inside = statistics.median(forward) * 1000
    steps["rest of the forward pass"] = inside - sum(steps.values())
    return steps | {"engine and sampling": (several - one) / tokens * 1000 - inside}


def _by_kind(program: Any, arguments: Any, sequences: Any) -> dict[str, float]:
    """Milliseconds that each kind of a recorded step's instructions takes."""
    import numpy as np

    from labutils.cpu.kernels import instructions

    recorded = program.recorder
    whole = np.concatenate([part for part in recorded.parts if isinstance(part, np.ndarray)])

    def milliseconds(part: np.ndarray) -> float:
        start = time.perf_counter()
        instructions.run(part, recorded.dtype, sequences)
        return (time.perf_counter() - start) * 1000

    kinds = {int(kind): whole[whole["kind"] == kind] for kind in np.unique(whole["kind"])}
    return {
        instructions.NAMES[kind]: statistics.median(milliseconds(part) for _ in range(REPEATS))
        for kind, part in kinds.items()
    }


@contextmanager
def _watched(calls: list[tuple[type, str]]) -> Iterator[dict[str, list[tuple[float, tuple]]]]:
    """Seconds and arguments of every call of the named methods while the body runs."""
    originals = {name: getattr(owner, name) for owner, name in calls}
    seen: dict[str, list[tuple[float, tuple]]] = {name: [] for name in originals}

    def watched(name: str) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return originals[name](*args, **kwargs)
            finally:
                seen[name].append((time.perf_counter() - start, args))

        return call

    for owner, name in calls:
        setattr(owner, name, watched(name))
    try:
        yield seen
    finally:
        for owner, name in calls:
            setattr(owner, name, originals[name])
