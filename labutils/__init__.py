"""The package behind the notebooks of LMDeploy Lab.

`from labutils import …` loads only what is asked for, because most of it loads torch.
"""

__version__ = "0.1.0"

_HOME = {
    "LabError": "labutils.errors",
    "chat_panel": "labutils.chat.panel",
    "copy_bandwidth": "labutils.limits",
    "engine_config": "labutils.device",
    "find_device": "labutils.device",
    "matrix_rate": "labutils.limits",
    "model_path": "labutils.models",
    "terminal_chat": "labutils.terminal",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'labutils' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
