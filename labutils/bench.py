"""`lab bench`: how fast this machine decodes and prefills, beside Hugging Face `generate`.

Both engines load the same model in bfloat16, each in its own process, and are timed in turn
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
from multiprocessing.connection import Connection
from typing import Any

Runner = Callable[[int, int], tuple[float, int]]
"""(batch, new tokens) → (seconds, prompt tokens of the whole batch)."""


def main(args: argparse.Namespace) -> None:
    """Run the benchmark and print a table, or JSON."""
    from labutils.models import model_path

    rows, steps = measure(
        model_path(args.model), args.batch, args.prompt, args.decode, args.repeats
    )
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(render(rows, steps))


def measure(
    model: str, batches: list[int], prompt: int, decode: int, repeats: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Time both engines.

    Args:
        model: model folder.
        batches: batch sizes.
        prompt: prompt tokens of each sequence.
        decode: tokens decoded after the first.
        repeats: paired runs.

    Returns:
        One row per batch size (the interface of `lab bench --json`, with spreads), and the
        milliseconds of one decode step by part.
    """
    with _worker(_huggingface, model, prompt) as hf, _worker(_lmdeploy, model, prompt) as engine:
        rows = [_row(hf, engine, batch, decode, repeats) for batch in batches]
        engine.send(("profile", decode))
        return rows, _received(engine)


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
    row = {"engine": "lmdeploy-cpu", "weights": "bf16", "kv": "none", "batch": batch}
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
    lines = ["batch  phase    tokens/s   × Hugging Face generate (smallest–largest)"]
    for row in rows:
        for phase in ("prefill", "decode"):
            low, high = row[f"{phase}_vs_hf_spread"]
            lines.append(
                f"{row['batch']:5}  {phase:8}{row[f'{phase}_tok_s']:9.1f}   "
                f"{row[f'{phase}_vs_hf']:.2f} ({low:.2f}–{high:.2f})"
            )
    lines += ["", "one decode step at batch 1      ms     %"]
    total = sum(steps.values())
    lines += [f"  {part:26}{ms:7.2f}{100 * ms / total:6.1f}" for part, ms in steps.items()]
    return "\n".join([*lines, f"  {'together':26}{total:7.2f} 100.0", "(measured on this machine)"])


# --- the two engines, each in a process -------------------------------------------------------


@contextmanager
def _worker(engine: Callable, model: str, prompt: int) -> Iterator[Connection]:
    """A process that loads an engine and answers timing requests; ended on the way out."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=engine, args=(theirs, model, prompt), daemon=True)
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


def _prompts(model: str, length: int) -> Iterator[list[int]]:
    """Passages of `length` tokens from the standard library's documentation, all different, so
    that no cache helps any run."""
    from pydoc_data.topics import topics

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer("\n\n".join(topics[key] for key in sorted(topics))).input_ids
    start = 0
    while True:
        yield ids[start : start + length]
        start = (start + length + 1) % (len(ids) - length)


def _huggingface(connection: Connection, model: str, prompt: int) -> None:
    """Worker: Transformers' generate in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    passages = _prompts(model, prompt)

    def run(batch: int, tokens: int) -> tuple[float, int]:
        ids = torch.tensor([next(passages) for _ in range(batch)])
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


def _lmdeploy(connection: Connection, model: str, prompt: int) -> None:
    """Worker: LMDeploy's pipeline on this machine's device."""
    from lmdeploy import GenerationConfig, pipeline
    from transformers import AutoTokenizer

    from labutils.device import engine_config

    sys.stdout = sys.stderr  # the parent's standard output is for figures only
    config = engine_config(session_len=prompt + 512, max_batch_size=32)
    pipe = pipeline(model, backend_config=config, log_level="ERROR")
    tokenizer = AutoTokenizer.from_pretrained(model)
    passages = _prompts(model, prompt)

    def run(batch: int, tokens: int) -> tuple[float, int]:
        texts = [tokenizer.decode(next(passages)) for _ in range(batch)]
        wanted = GenerationConfig(max_new_tokens=tokens, do_sample=False, ignore_eos=True)
        start = time.perf_counter()
        answers = pipe(texts, gen_config=wanted, do_preprocess=False)
        seconds = time.perf_counter() - start
        assert all(answer.generate_token_len == tokens for answer in answers)
        return seconds, sum(answer.input_token_len for answer in answers)

    _serve(connection, run, lambda tokens: step_parts(run, tokens))
    pipe.close()


# --- one decode step taken apart ----------------------------------------------------------------


def step_parts(run: Runner, tokens: int) -> dict[str, float]:
    """Milliseconds of one decode step at batch 1, by part.

    The operators' Python entry points are timed in place, for this measurement only. The timers
    themselves cost about a microsecond a call.
    """
    from lmdeploy.pytorch.backends.default import activation, apply_rotary_emb, linear
    from lmdeploy.pytorch.engine.model_agent.agent import BaseModelAgent

    from labutils.cpu.attention import CpuAttention
    from labutils.cpu.norm import CpuRMSNorm

    parts = {
        "linear layers": (linear.DefaultLinearImpl, "forward"),
        "attention and KV cache": (CpuAttention, "forward"),
        "RMSNorm": (CpuRMSNorm, "forward"),
        "rotary embedding": (apply_rotary_emb.DefaultApplyRotaryEmbImpl, "forward"),
        "SiLU": (activation.DefaultSiluAndMulImpl, "forward"),
        "forward": (BaseModelAgent, "_forward_impl"),
        "output layer": (BaseModelAgent, "get_logits"),
    }
    spent: dict[str, list[float]] = {name: [] for name in parts}
    with _timers(parts, spent):
        one, _ = run(1, 1)
        before = {name: sum(calls) for name, calls in spent.items()}
        several, _ = run(1, 1 + tokens)
    # Two runs share the prefill; what the second has more of is `tokens` decode steps.
    step = {n: (sum(calls) - 2 * before[n]) / tokens * 1000 for n, calls in spent.items()}
    whole = (several - one) / tokens * 1000
    forward, output = step.pop("forward"), step.pop("output layer")
    step["linear layers"] -= output  # the output layer is linear as well; it is listed by itself
    inside = sum(step.values())
    return {
        **step,
        "rest of the model": forward - inside,
        "output layer": output,
        "engine and sampling": whole - forward - output,
    }


@contextmanager
def _timers(parts: dict[str, tuple[type, str]], spent: dict[str, list[float]]) -> Iterator[None]:
    """Time every call of the named methods while the body runs."""
    originals = {name: getattr(owner, method) for name, (owner, method) in parts.items()}

    def timed(original: Callable, calls: list[float]) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                calls.append(time.perf_counter() - start)

        return call

    for name, (owner, method) in parts.items():
        setattr(owner, method, timed(originals[name], spent[name]))
    try:
        yield
    finally:
        for name, (owner, method) in parts.items():
            setattr(owner, method, originals[name])
