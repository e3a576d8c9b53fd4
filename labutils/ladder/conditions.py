"""Under which conditions a rung is measured here: versions, hashes, machine, settings, seeds.

Read without loading torch or LMDeploy, so that a run that is complete already ends in seconds. A
file's hash is kept with its size and time of change, because a large model takes a minute to read.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from labutils import __version__
from labutils.bootstrap import write_atomically
from labutils.cpu.activate import MEANINGS
from labutils.folders import sha256
from labutils.ladder.plan import Plan
from labutils.ladder.results import Conditions
from labutils.provenance import gpu, processor, versions

_PATTERNS = ("*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt", "*.py")


def collect(
    plan: Plan, hashes: Mapping[str, str], machine: Mapping[str, str], **settings: str
) -> Conditions:
    """The conditions of a rung.

    Args:
        plan: sizes and seed.
        hashes: of model, items and texts.
        machine: this one, see `machine`.
        settings: whatever else decides this rung's figures.
    """
    return Conditions(
        versions=versions() | {"labutils": __version__},
        hashes=dict(hashes),
        machine=dict(machine),
        settings=plan.settings() | settings,
        seeds={"items": plan.seed},
    )


def machine() -> dict[str, str]:
    """Processor, cores, memory, GPU, and what the environment asks for, if it does."""
    asked = {name: os.environ[name] for name in MEANINGS if name in os.environ}
    return {
        "processor": processor(),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": gpu().get("name") or "no GPU",
        **asked,
    }


def hash_folder(folder: Path, cache: Path) -> str:
    """SHA-256 over a model folder's files, of which unchanged ones are not read again.

    Args:
        folder: of a model.
        cache: a JSON file that remembers hashes; written anew when there is a new one.
    """
    known = _read_cache(cache)
    before, found = dict(known), {}
    for file in sorted({f for pattern in _PATTERNS for f in folder.glob(pattern)}):
        about = file.stat()
        key = f"{file.resolve()} {about.st_size} {about.st_mtime_ns}"
        found[file.name] = known.setdefault(key, "") or sha256(file)
        known[key] = found[file.name]
    if known != before:
        write_atomically(cache, json.dumps(known, indent=1) + "\n")
    return _sha256_of(found)


def _sha256_of(found: Mapping[str, str]) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _read_cache(cache: Path) -> dict[str, str]:
    try:
        return dict(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
