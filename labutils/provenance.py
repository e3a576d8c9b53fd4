"""Where figures come from: what a file of results must say so that others can judge and repeat it.

Nothing here touches the GPU, because a process that does takes memory of it: the driver's own
tool is asked.
"""

import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from labutils.folders import MANIFEST, sha256

PACKAGES = ("lmdeploy", "torch", "transformers", "triton")
FIELDS = ("name", "driver_version", "memory.total")


def provenance(command: str, models: Mapping[str, str], seeds: Mapping[str, int]) -> dict[str, Any]:
    """Date, command, versions, machine, hashes and seeds of a measurement that begins now.

    Args:
        command: the command line that repeats it.
        models: folders of the models measured, by name.
        seeds: by what they decide.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "versions": versions(),
        "machine": gpu() or {"name": "no GPU"},
        "hashes": {name: fingerprint(Path(folder)) for name, folder in models.items()},
        "seeds": dict(seeds),
    }


def versions() -> dict[str, str]:
    """Of Python and of those of PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name; its architecture where the system gives no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def gpu() -> dict[str, str]:
    """Name, driver and memory of the first GPU by nvidia-smi; empty without one."""
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader", "-i", "0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(FIELDS, map(str.strip, said.stdout.split(",")), strict=True))


def machine_name() -> str:
    """A folder's name for this machine: its GPU's, such as nvidia-h100-80gb-hbm3, or cpu."""
    return slug(gpu().get("name", "cpu"))


def slug(name: str) -> str:
    """A name in small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def fingerprint(folder: Path) -> str:
    """SHA-256 of a model folder's manifest, which holds the files' own; else of its config.json."""
    manifest = folder / MANIFEST
    return sha256(manifest if manifest.is_file() else folder / "config.json")
