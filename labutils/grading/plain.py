"""Plain values from JSON that a sandbox sent: nothing that it says can be more than data.

The counterpart of `inside.encode`. Objects with an `__eq__` of their own, functions and classes
cannot be said in it, so what a test compares is what it seems to be.
"""

import builtins
import json
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "numpy")
DTYPES = {"float64", "float32", "float16", "bfloat16", "bool", "uint8"} | {
    f"int{bits}" for bits in (8, 16, 32, 64)
}


def loads(text: bytes) -> Any:
    """The value of an answer.

    Raises:
        ValueError: it is no answer.
        Exception: the answer is that the code raised this, if it is one of Python's own exceptions,
            else a RuntimeError that names it.
    """
    try:
        answer = json.loads(text)
        if "error" in answer:
            name, words = answer["error"]
            error = _exception(str(name), str(words))
        else:
            return decode(answer["value"])
    except (TypeError, ValueError, LookupError, RuntimeError, OverflowError) as problem:
        raise ValueError(f"the code sent no plain value ({type(problem).__name__})") from None
    raise error


def decode(value: Any) -> Any:
    """A plain value from its JSON; TypeError, ValueError or LookupError if it is none."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise TypeError("a list without its kind")
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {decode(key): decode(each) for key, each in content}
    if kind in ("list", "tuple", "set", "frozenset"):
        return getattr(builtins, kind)(map(decode, content))
    return {"bytes": bytes.fromhex, "path": Path, "array": _array}[kind](content)


def _array(content: list) -> Any:
    library, dtype, shape, numbers = content
    if library not in LIBRARIES or dtype not in DTYPES:
        raise TypeError("no such array")
    if library == "numpy":
        import numpy

        return numpy.array(numbers, dtype).reshape(shape)
    import torch

    return torch.tensor(numbers, dtype=getattr(torch, dtype)).reshape(shape)


def _exception(name: str, words: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(words)
        except TypeError:  # UnicodeDecodeError and its like want more
            pass
    return RuntimeError(f"{name}: {words}")
