"""How much of this machine LMDeploy may plan with when it sizes the KV cache, and what a model's
weights take of it.

A GPU is there for the engine; a laptop's memory is also its user's. The engine is told about half
of what this process can still get (the kernel's estimate, or less under a cgroup limit), and never
about more than `CEILING`: a class needs thousands of tokens of context, not millions.
"""

import os
from pathlib import Path
from typing import Any

import psutil

SHARE = 0.5
CEILING = 4 * 2**30
"""Bytes. LMDeploy sets work space aside and takes 80 % of the rest: 2.6 GiB of KV cache, which is
120,000 tokens of SmolLM2-135M in bfloat16."""


def plannable_bytes() -> int:
    """Bytes that LMDeploy's planning may treat as free device memory."""
    return int(min(SHARE * free_bytes(), CEILING))


def free_bytes(root: Path = Path("/")) -> int:
    """Bytes this process can still get: available memory, or less under a cgroup limit."""
    machine = psutil.virtual_memory()
    headrooms = [limit - used for limit, used in _cgroup_limits(root) if limit < machine.total]
    return max(0, min([machine.available, *headrooms]))


def _cgroup_limits(root: Path) -> list[tuple[int, int]]:
    """(limit, use) in bytes of every cgroup, version 1 or 2, that this process is in.

    A limit may stand on any ancestor, so the whole path up to the top is read. Page cache that
    the kernel would give back (`inactive_file`) does not count as used.
    """
    found = []
    for folder in _cgroup_folders(root):
        for limit_file, use_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(folder / limit_file), _number(folder / use_file)
            if limit is not None and used is not None:
                found.append((limit, max(0, used - _reclaimable(folder))))
    return found


def _cgroup_folders(root: Path) -> list[Path]:
    """Folders under /sys/fs/cgroup that govern this process's memory, innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / "sys/fs/cgroup" / controllers
        inner = base / path.lstrip("/")
        folders += [p for p in [inner, *inner.parents] if p.is_relative_to(base)]
    return folders


def _number(file: Path) -> int | None:
    """The file's number, or None when there is no such file or it says `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _reclaimable(folder: Path) -> int:
    """Bytes of page cache in memory.stat that would be given back under pressure."""
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(stat.get("inactive_file", stat.get("total_inactive_file", 0)))


def threads() -> int:
    """CPU cores this process may use (its affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0))


def weight_bytes(pipe: Any) -> int:
    """Bytes of memory that the weights in a pipeline's PyTorch engine take, tied ones once."""
    model = pipe.async_engine.engine.executor.model_agent.patched_model.get_model()
    storages = [tensor.untyped_storage() for tensor in model.parameters()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
