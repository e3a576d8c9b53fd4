"""What `torch.cuda` becomes in LMDeploy's modules on the CPU device.

A CPU runs every operation before the next one starts, so streams order nothing and events have
always happened. Only what LMDeploy 0.18.0 calls on the CPU path is here: anything else raises
AttributeError by itself, which is better than a wrong answer.
"""

import contextlib
import os
from types import SimpleNamespace
from typing import Any

import psutil
import torch

from labutils.cpu import memory


class Stream:
    """A stream that is always idle."""

    device = "cpu"

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def wait_event(self, event: "Event") -> None: ...

    def wait_stream(self, stream: "Stream") -> None: ...

    def synchronize(self) -> None: ...

    def record_event(self, event: "Event | None" = None) -> "Event":
        return event or Event()

    def query(self) -> bool:
        return True


class Event:
    """An event that has already happened."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def record(self, stream: Stream | None = None) -> None: ...

    def wait(self, stream: Stream | None = None) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


_DEFAULT_STREAM = Stream()


def current_stream(device: Any = None) -> Stream:
    return _DEFAULT_STREAM


def stream(stream: Stream | None) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext(stream)


def device(index: Any) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext(index)


def synchronize(device: Any = None) -> None: ...


def empty_cache() -> None: ...


def set_device(device: Any) -> None: ...


def is_current_stream_capturing() -> bool:
    return False


def current_device() -> str:
    return "cpu"


def device_count() -> int:
    return 1


def is_available() -> bool:
    return True


def get_device_name(device: Any = None) -> str:
    return "cpu"


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """(8, 0): the first GPU generation with bfloat16, which a CPU has as well."""
    return 8, 0


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """What `lmdeploy lite` asks before it loads a bfloat16 model."""
    return True


def get_device_properties(device: Any = None) -> SimpleNamespace:
    total = psutil.virtual_memory().total
    return SimpleNamespace(
        name="cpu",
        major=8,
        minor=0,
        uuid="cpu",
        total_memory=total,
        multi_processor_count=os.cpu_count(),
    )


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(bytes LMDeploy may plan with, bytes of the machine); see `labutils.cpu.memory`."""
    return memory.plannable_bytes(), psutil.virtual_memory().total


def memory_allocated(device: Any = None) -> int:
    """Resident bytes of this process."""
    return psutil.Process().memory_info().rss


max_memory_allocated = memory_reserved = memory_allocated


def manual_seed(seed: int) -> None:
    torch.manual_seed(seed)


manual_seed_all = manual_seed
