"""The package behind the notebooks of LMDeploy Lab.

`from labutils import …` loads only what is asked for: this file must stay cheap, because the
course's environment imports it at every Python start (see `labutils.cpu.activate`).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "LabError": "labutils.errors",
    "engine_config": "labutils.device",
    "find_device": "labutils.device",
    "model_path": "labutils.models",
    "terminal_chat": "labutils.terminal",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'labutils' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
