"""`lab bench gpu`: memory and speed of a model on a GPU, by weights, KV cache, batch and card size.

    lab bench gpu --model RANDOM-7B --w4a16 RANDOM-7B-W4A16 --kv none int8 int4 --cap 8 24 40

One engine after another, each in a process of its own (`worker`). An engine that does not fit
is a result, too, with its own last words. Speeds stand beside what the machine's measured memory
bandwidth and matrix rate would allow at best. The JSON file says where the figures come from and
is written again after each engine, so that an interrupted run keeps what it has.

Left out: quality, which random weights do not have, and the comparison with Hugging Face
(`labutils.bench`).
"""

import argparse
import itertools
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from labutils.bench import KV
from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.folders import linear_weights, read_config
from labutils.gpu.worker import Work
from labutils.kv_budget import KVShape, bytes_per_token, tokens_that_fit
from labutils.limits import step_seconds
from labutils.models import model_path
from labutils.paths import DATA
from labutils.programs import lines_of, telling
from labutils.provenance import machine_name, provenance

FORMAT = "lmdeploy-lab gpu bench 1"
LONG_BATCH = 64
SEED = 0
ENGINE_SECONDS = 240.0
BUDGET = re.compile(r"cache budget: ([\d.]+) MB")
"""What TurboMind logs of the bytes that it sets aside for the KV cache; its MB are 2**20."""


@dataclass(frozen=True)
class Setup:
    """One engine to measure."""

    folder: str
    weights: str
    """'fp16' or 'w4a16'."""
    kv: str
    """One of KV."""
    cap_gib: float | None
    """What the engine may see of the GPU; None: all."""
    share: float
    """cache_max_entry_count."""
    tp: int = 1
    """GPUs that share the model."""
    prefill: int | None = None
    """max_prefill_token_num; None leaves LMDeploy's own choice."""

    def __str__(self) -> str:
        cap = f"{self.cap_gib:g} GiB" if self.cap_gib else "whole"
        more = f" tp {self.tp}" if self.tp > 1 else ""
        more += f" prefill {self.prefill}" if self.prefill else ""
        return f"{self.weights:6} KV {self.kv:5} {cap:8} share {self.share:g}{more}"


def main(args: argparse.Namespace) -> None:
    """Measure, printing a line for each figure, and leave a JSON file.

    Raises:
        LabError: no model is named, or one of that name is not here.
    """
    named = {"fp16": args.model, "w4a16": args.w4a16}
    folders = {weights: model_path(name) for weights, name in named.items() if name}
    if not folders:
        raise LabError("Name what to measure: --model, --w4a16, or both.")
    name = Path(next(iter(folders.values()))).name
    out = Path(args.out or DATA / "results" / machine_name() / f"gpu-bench-{name}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    loads = [(batch, args.prompt, args.decode) for batch in args.batch]
    loads += [(LONG_BATCH, args.long, args.decode)] if args.long else []
    report = {"format": FORMAT, "origin": "measured"}
    report |= provenance(command_of(args), folders, {"prompts": SEED})
    report |= {"limits": _worker(Work("", 0, 0.8, None, (), False, SEED))["found"], "runs": []}
    chosen = (args.cap or [None], folders, args.kv, args.tp, args.prefill or [None])
    setups = [
        Setup(folders[weights], weights, kv, cap, args.share, tp, prefill)
        for cap, weights, kv, tp, prefill in itertools.product(*chosen)
    ]
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    for setup in setups:
        if time.monotonic() > end:
            report["runs"].append(asdict(setup) | {"status": "not run: out of time"})
            continue
        run = measure(setup, loads, args.step, report["limits"])
        report["runs"].append(run)
        write_atomically(out, json.dumps(report, indent=1) + "\n")
        print("\n".join(lines(run)), flush=True)
    write_atomically(out, json.dumps(report, indent=1) + "\n")
    print(out)


def command_of(args: argparse.Namespace) -> str:
    """The command line that gives these figures, without where they go."""
    line = ["lab", "bench", "gpu"]
    line += ["--model", Path(args.model).name] if args.model else []
    line += ["--w4a16", Path(args.w4a16).name] if args.w4a16 else []
    for name in ("kv", "batch", "prompt", "decode", "long", "cap", "share", "tp", "prefill"):
        values = getattr(args, name)
        values = values if isinstance(values, list) else [values]
        line += [f"--{name}", *map(str, values)] if values not in ([None], []) else []
    return shlex.join([*line, *(["--step"] if args.step else [])])


def measure(
    setup: Setup, loads: list[tuple[int, int, int]], step: bool, limits: dict[str, Any]
) -> dict[str, Any]:
    """One engine's run: status, memory, speeds and, if asked, a decode step."""
    policy = KV[setup.kv]
    cap = int(setup.cap_gib * 2**30) if setup.cap_gib else None
    work = Work(setup.folder, policy, setup.share, cap, loads, step, SEED, setup.tp, setup.prefill)
    done = _worker(work)
    run = asdict(setup) | {"folder": Path(setup.folder).name}
    if done["found"] is None:
        return run | {"status": "failed", "message": done["message"]}
    found = done["found"]
    found["memory"] = _memory(setup, policy, found["memory"], done["log"])
    for load in found["loads"]:
        load |= shares(load, setup.folder, policy, limits, setup.tp)
    return run | {"status": "ok"} | found


def _worker(work: Work) -> dict[str, Any]:
    """Run a worker to its end: what it found, with its log, or None, with its last words."""
    with tempfile.TemporaryDirectory() as folder:
        asked, found = Path(folder) / "work.json", Path(folder) / "found.json"
        asked.write_text(json.dumps(asdict(work)), "utf-8")
        command = [sys.executable, "-m", "labutils.gpu.worker", str(asked), str(found)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=ENGINE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"found": None, "message": f"no end after {ENGINE_SECONDS:.0f} s"}
        if found.is_file():
            return {"found": json.loads(found.read_text("utf-8")), "log": done.stdout}
        words = telling(lines_of(done.stdout)) or "it printed nothing"
        return {"found": None, "message": f"exit code {done.returncode}: {words[:400]}"}


# --- what figures mean ------------------------------------------------------------------------


def _memory(setup: Setup, policy: int, memory: dict[str, Any], log: str) -> dict[str, Any]:
    """Bytes by what they hold: weights on disk, KV cache and its tokens, all that is gone.

    Of several GPUs the first is looked at, which holds its share of the weights and of each
    token's KV cache.
    """
    per_token = bytes_per_token(KVShape.of(setup.folder), policy)
    found: dict[str, Any] = {"weight_bytes": weight_bytes(setup.folder)}
    found |= {"kv_bytes_per_token": per_token}
    if memory["before"]:
        free = [memory[when]["free_bytes"] for when in ("before", "after")]
        found |= {"free_before": free[0], "free_after": free[1], "taken": free[0] - free[1]}
    if said := BUDGET.findall(log):
        budget = int(float(said[-1]) * 2**20)
        fit = tokens_that_fit(budget, per_token // setup.tp)
        found |= {"kv_cache_bytes": budget, "kv_tokens": fit}
    return found


def weight_bytes(folder: str) -> int:
    """Bytes of a folder's weight files."""
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))


def shares(
    load: dict[str, Any], folder: str, policy: int, limits: dict[str, Any], tp: int = 1
) -> dict[str, float]:
    """What decode and prefill could reach at best, in tokens/s, and which share they did reach.

    A decode step reads all weights but the input embedding, and every sequence's KV cache; or it
    multiplies each sequence with every weight. The longer of the two is the limit. A prefill
    multiplies every prompt token with every weight of the layers. `tp` GPUs could at best take
    that part of the time.
    """
    config = read_config(Path(folder))
    linear = linear_weights(config)
    embedding = config["vocab_size"] * config["hidden_size"]
    batch, context = load["batch"], load["prompt_tokens"] + load["new_tokens"] / 2
    token = bytes_per_token(KVShape.of(folder), policy)
    bandwidth = tp * limits["copy_bandwidth"]["rate"]
    rate = tp * limits["matrix_rate"]["rate"]
    read = weight_bytes(folder) - 2 * embedding + batch * context * token
    seconds = step_seconds(read, (linear + embedding) * batch, bandwidth, rate)
    decode, prefill = batch / max(seconds), rate / (2 * linear)
    return {
        "decode_limit_tok_s": round(decode, 1),
        "decode_limited_by": "memory" if seconds[0] > seconds[1] else "arithmetic",
        "decode_share": round(load["decode_tok_s"] / decode, 3),
        "prefill_limit_tok_s": round(prefill, 1),
        "prefill_share": round(load["prefill_tok_s"] / prefill, 3),
    }


def lines(run: dict[str, Any]) -> Iterator[str]:
    """A run for people."""
    setup = Setup(**{each.name: run[each.name] for each in fields(Setup) if each.name in run})
    yield f"{setup} {run['status']}"
    if run["status"] != "ok":
        yield f"    {run.get('message', '')}"
        return
    memory = run["memory"]
    tokens = f"{memory['kv_tokens']:,}" if "kv_tokens" in memory else "?"
    yield f"    {memory['weight_bytes'] / 2**30:.2f} GiB of weights, KV cache of {tokens} tokens"
    for load in run["loads"]:
        yield (
            f"    batch {load['batch']:3} prompt {load['prompt_tokens']:4}: decode "
            f"{load['decode_tok_s']:8.0f} tokens/s ({100 * load['decode_share']:.0f} % of the "
            f"limit), prefill {load['prefill_tok_s']:8.0f} ({100 * load['prefill_share']:.0f} %)"
        )
    if step := run.get("step"):
        yield (
            f"    a step: {step['kernels']:.0f} kernels, busy {step['busy_ms']:.2f} ms, launching "
            f"{step['launch_ms']} ms, traced {step['traced_ms']:.2f} ms"
        )
