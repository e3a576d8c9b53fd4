"""The process of `lab bench gpu` that holds one engine: its memory, its speed, a step of it.

Each engine gets a process of its own, because engines give memory back late and may end their
process. It reads what to do from a JSON file and writes what it found to another; what LMDeploy
says goes where the parent wants it. A cap is kept by holding the rest of the GPU's memory, so that
the engine sees a smaller card. Without a GPU, the CPU device is measured, and memory is left out.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WARM_UP_TOKENS = 8
BEGINS = 16
"""Tokens of a load's first reply that are kept, to see whether two engines say the same."""


@dataclass(frozen=True)
class Work:
    """What a worker does."""

    folder: str
    quant_policy: int
    share: float
    """cache_max_entry_count: of the memory that is free once the weights are there."""
    cap_bytes: int | None
    loads: Sequence[tuple[int, int, int]]
    """(batch, prompt tokens, decoded tokens) of each timing."""
    step: bool
    """Whether to take a decode step apart."""
    seed: int
    tp: int = 1
    """GPUs that share the model."""
    prefill: int | None = None
    """max_prefill_token_num; None leaves LMDeploy's own choice."""


def main() -> None:
    """`python -m labutils.gpu.worker WORK.json FOUND.json`."""
    import torch

    work = Work(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    # TurboMind tells how much it takes for the KV cache only there.
    os.environ.setdefault("TM_LOG_LEVEL", "INFO")
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    found = limits(kind) if not work.folder else measure(work, kind)
    Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")
    sys.stdout.flush()
    os._exit(0)  # an engine's own end may hang or fail, and nothing of it matters here


def limits(kind: str) -> dict[str, dict[str, float]]:
    """The machine's two limits, see `labutils.limits`: bytes and operations per second."""
    import torch

    from labutils.limits import copy_bandwidth, matrix_rate

    half = torch.float16 if kind == "cuda" else torch.bfloat16
    found = {"copy_bandwidth": copy_bandwidth(kind), "matrix_rate": matrix_rate(kind, half)}
    return {name: asdict(limit) for name, limit in found.items()}


def measure(work: Work, kind: str) -> dict[str, Any]:
    """Start the engine and measure it."""
    from lmdeploy import pipeline

    from labutils.device import engine_config

    held = _hold(work.cap_bytes) if kind == "cuda" and work.cap_bytes else None
    before = _memory(kind)
    most = [max(sizes) for sizes in zip(*work.loads, strict=True)] or [1, 128, 128]
    config = engine_config(
        quant_policy=work.quant_policy,
        session_len=sum(most[1:]) + 128,
        max_batch_size=most[0],
        cache_max_entry_count=work.share,
        tp=work.tp,
        **({"max_prefill_token_num": work.prefill} if work.prefill else {}),
    )
    start = time.perf_counter()
    pipe = pipeline(work.folder, backend_config=config, log_level="ERROR")
    started = time.perf_counter() - start
    after = _memory(kind)
    bench = Bench(pipe, work.folder, work.seed)
    found = {
        "engine": type(pipe.async_engine.engine).__name__,
        "dtype": str(getattr(pipe.backend_config, "dtype", "")),
        "start_seconds": round(started, 1),
        "memory": {"before": before, "after": after},
        "loads": [bench.load(*load) for load in work.loads],
    }
    if work.step and kind == "cuda":
        from labutils.gpu.trace import decode_step

        found["step"] = decode_step(lambda tokens: bench.timed(1, 16, tokens))
    del held
    return found


def _hold(cap: int) -> Any:
    """Take all of the GPU's memory but `cap` bytes; this process's own share counts as used."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return torch.empty(min(free, max(0, total - cap)), dtype=torch.uint8, device="cuda")


def _memory(kind: str) -> dict[str, int] | None:
    import torch

    if kind != "cuda":
        return None
    free, total = torch.cuda.mem_get_info()
    return {"free_bytes": free, "card_bytes": total}


class Bench:
    """Timings of an LMDeploy pipeline."""

    def __init__(self, pipe: Any, folder: str, seed: int) -> None:
        from labutils.corpus import Passages

        self.pipe, self.passages = pipe, Passages(folder, seed)

    def load(self, batch: int, prompt: int, decode: int) -> dict[str, Any]:
        """Prefill and decode speed of `batch` sequences at once."""
        self.timed(batch, prompt, WARM_UP_TOKENS)
        first, prompt_tokens, _ = self.timed(batch, prompt, 1)
        whole, _, begins = self.timed(batch, prompt, 1 + decode)
        return {
            "batch": batch,
            "prompt_tokens": round(prompt_tokens / batch),
            "new_tokens": 1 + decode,
            "seconds": round(whole, 4),
            "ttft_all_s": round(first, 4),
            "tpot_ms": round(1000 * (whole - first) / decode, 3),
            "prefill_tok_s": round(prompt_tokens / first, 1),
            "decode_tok_s": round(batch * decode / (whole - first), 1),
            "output_tok_s": round(batch * (1 + decode) / whole, 1),
            "begins": begins,
        }

    def timed(self, batch: int, prompt: int, tokens: int) -> tuple[float, int, list[int]]:
        """(seconds, prompt tokens of the whole batch, how the first reply begins).

        Prompts differ, so that no cache helps, and are the same for every engine.
        """
        from lmdeploy import GenerationConfig

        texts = [self.passages.text(prompt) for _ in range(batch)]
        wanted = GenerationConfig(max_new_tokens=tokens, do_sample=False, ignore_eos=True)
        start = time.perf_counter()
        replies = self.pipe(texts, gen_config=wanted, do_preprocess=False)
        seconds = time.perf_counter() - start
        made = {reply.generate_token_len for reply in replies}
        if made != {tokens}:
            raise RuntimeError(f"asked for {tokens} tokens of each sequence, got {sorted(made)}")
        begins = list(replies[0].token_ids[:BEGINS])
        return seconds, sum(reply.input_token_len for reply in replies), begins


if __name__ == "__main__":
    main()
