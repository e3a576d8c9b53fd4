"""Hands LMDeploy to the CPU device when it is first imported, and only then.

The course's environment imports this module at every Python start (one line in a `.pth` file, so
that spawned engine processes get it too). It must therefore cost next to nothing until some
program imports `lmdeploy`. `LMDEPLOY_CPU` decides: `auto` (default; the CPU device is used where
torch sees no CUDA device), `1` (always) or `0` (never).
"""

import os
import sys

MODES = ("auto", "0", "1")
_decision: "bool | None" = None


def is_active() -> bool:
    """Whether LMDeploy runs, or would run, on the CPU device in this process."""
    global _decision
    if _decision is None:
        _decision = _wanted(os.environ.get("LMDEPLOY_CPU", "auto"))
    return _decision


def _wanted(mode: str) -> bool:
    """The meaning of LMDEPLOY_CPU on this machine; LabError if it has none."""
    if mode not in MODES:
        from labutils.errors import LabError

        raise LabError(f"LMDEPLOY_CPU={mode!r} means nothing: set it to auto, 0 or 1.")
    if mode != "auto":
        return mode == "1"
    import torch

    return not torch.cuda.is_available()


class Gate:
    """Meta path finder that lets everything pass but `lmdeploy`."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # noqa: ANN001, ANN205 - importlib's protocol
        """Find lmdeploy's modules through the rewriting loader when the CPU device is active."""
        if name != "lmdeploy" and not name.startswith("lmdeploy."):
            return None
        if name == "lmdeploy":
            _show_lab_errors_as_one_line()
        if not is_active():
            return None
        from labutils.cpu import rewrite

        return rewrite.find_spec(name, path)


def _show_lab_errors_as_one_line() -> None:
    """In programs such as `lmdeploy chat`, a LabError is a sentence, not a traceback."""
    shown_by_default = sys.excepthook

    def excepthook(kind, error, traceback):  # noqa: ANN001, ANN202 - sys.excepthook's protocol
        from labutils.errors import LabError

        if issubclass(kind, LabError):
            print(f"lmdeploy on the CPU device: {error}", file=sys.stderr)
        else:
            shown_by_default(kind, error, traceback)

    sys.excepthook = excepthook


if Gate not in sys.meta_path:
    sys.meta_path.insert(0, Gate)
