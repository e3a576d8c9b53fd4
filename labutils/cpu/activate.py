"""Hands LMDeploy to the CPU device when it is first imported, and only then.

In the course's environment a line in a `.pth` file waits for `lmdeploy` in every Python, spawned
engine processes included, and imports this module only then (`labutils.bootstrap.GATE`).
`LMDEPLOY_CPU` decides: `auto` (default; the CPU device is used where torch sees no CUDA device),
`1` (always) or `0` (never). `LAB_DEVICE`, the lessons' own variable, says the same in their words:
`cpu` or `cuda`.
"""

import os
import sys

MEANINGS = {
    "LAB_DEVICE": {"auto": None, "cpu": True, "cuda": False},
    "LMDEPLOY_CPU": {"auto": None, "1": True, "0": False},
}
_decision: "bool | None" = None


def is_active() -> bool:
    """Whether LMDeploy runs, or would run, on the CPU device in this process."""
    global _decision
    if _decision is None:
        asked = requested()
        if asked is None:
            import torch

            asked = not torch.cuda.is_available()
        _decision = asked
    return _decision


def requested() -> "bool | None":
    """Whether a variable asks for the CPU device (True) or forbids it (False); None: neither does.

    Raises:
        LabError: a variable has a value without a meaning.
    """
    answers = []
    for variable, meanings in MEANINGS.items():
        value = os.environ.get(variable, "auto")
        if value not in meanings:
            from labutils.errors import LabError

            choices = ", ".join(meanings)
            raise LabError(f"{variable}={value!r} means nothing: set it to one of {choices}.")
        answers.append(meanings[value])
    return next((answer for answer in answers if answer is not None), None)


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
            where = "" if _decision is False else " on the CPU device"
            print(f"lmdeploy{where}: {error}", file=sys.stderr)
        else:
            shown_by_default(kind, error, traceback)

    sys.excepthook = excepthook


if Gate not in sys.meta_path:
    sys.meta_path.insert(0, Gate)
