"""`lab bench pair`: what a second GPU brings, by the three ways of using it.

    lab bench pair --model internlm2-chat-7b-random

One `api_server` on one GPU; a server on each GPU behind `lmdeploy serve proxy`; one server whose
model is cut in two (`--tp 2`). Each gets the same requests from `labutils.load`, so what clients
see is measured, the servers' HTTP included; the engine alone is `lab bench gpu --tp 1 2`. One
greedy answer of each server is kept, because cutting a model must not change what it says. The
loading client is one Python process and can itself become the limit.
"""

import argparse
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.models import model_path
from labutils.paths import DATA
from labutils.provenance import machine_name, provenance
from labutils.server import Server, api_server, proxy

FORMAT = "lmdeploy-lab gpu pair 1"
PROMPT = "Write a line about the number {}, and about what lies behind it."
ENDLESS = {"extra_body": {"ignore_eos": True}}
Start = Callable[[ExitStack, str, dict[str, Any]], list[Server]]


def main(args: argparse.Namespace) -> None:
    """Measure, printing a line for each figure, and leave a JSON file.

    Raises:
        LabError: there are not two GPUs, or a server does not start.
    """
    import torch

    if (gpus := torch.cuda.device_count()) < 2:
        raise LabError(f"This needs two GPUs, and PyTorch sees {gpus}: run it on such a machine.")
    model = model_path(args.model)
    out = Path(args.out or DATA / "results" / machine_name() / f"gpu-pair-{Path(model).name}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {"format": FORMAT, "origin": "measured", "gpus": 2, "model": Path(model).name}
    report |= provenance(command_of(args), {"model": model}, {}) | {"runs": []}
    options = {"session_len": 1024, "max_batch_size": max(args.concurrency)}
    for name, start in WAYS.items():
        with ExitStack() as running:
            servers = start(running, model, options)
            for line in measure(name, servers, args, report["runs"]):
                print(line, flush=True)
        write_atomically(out, json.dumps(report, indent=1) + "\n")
    print(out)


def command_of(args: argparse.Namespace) -> str:
    """The command line that gives these figures, without where they go."""
    line = ["lab", "bench", "pair", "--model", Path(args.model).name, "--concurrency"]
    return shlex.join([*line, *map(str, args.concurrency), "--tokens", str(args.tokens)])


# --- the three ways ---------------------------------------------------------------------------


def _one(running: ExitStack, model: str, options: dict[str, Any]) -> list[Server]:
    return [running.enter_context(api_server(model, gpu=0, **options))]


def _two(running: ExitStack, model: str, options: dict[str, Any]) -> list[Server]:
    servers = [running.enter_context(api_server(model, gpu=gpu, **options)) for gpu in (0, 1)]
    return [running.enter_context(proxy(servers)), *servers]


def _cut(running: ExitStack, model: str, options: dict[str, Any]) -> list[Server]:
    return [running.enter_context(api_server(model, tp=2, **options))]


WAYS: dict[str, Start] = {
    "one server": _one,
    "two servers behind the proxy": _two,
    "one server, tp 2": _cut,
}


# --- figures ----------------------------------------------------------------------------------


def measure(
    name: str, servers: list[Server], args: argparse.Namespace, runs: list[dict[str, Any]]
) -> Iterator[str]:
    """Load the first server at each concurrency; appends to `runs` and yields lines for people."""
    from labutils import load

    target, nodes = servers[0], servers[1:]
    request = {"max_tokens": args.tokens, **ENDLESS}
    load.run(target, [PROMPT.format(0)] * 4, concurrency=4, **request)  # warm up
    for level in args.concurrency:
        before = [finished(node) for node in nodes]
        prompts = [PROMPT.format(number) for number in range(max(8, 3 * level))]
        done = load.run(target, prompts, concurrency=level, **request)
        runs.append(
            {
                "way": name,
                "concurrency": level,
                "requests": len(prompts),
                "answered": sum(answer.ok for answer in done.answers),
                "answered_by_each": [finished(n) - b for n, b in zip(nodes, before, strict=True)],
                "output_tok_s": round(done.throughput, 1),
                "ttft_ms": round(1000 * done.ttft, 1),
                "tpot_ms": round(1000 * done.tpot, 2),
                "first_answer": done.answers[0].text[:80],
            }
        )
        yield (
            f"{name:30}{level:5} at once {done.throughput:9.0f} tokens/s, "
            f"TTFT {1000 * done.ttft:6.0f} ms, TPOT {1000 * done.tpot:6.2f} ms"
        )


def finished(server: Server) -> int:
    """Requests that a server has finished since its start."""
    return int(server.metrics().get("request_success_total", 0))
