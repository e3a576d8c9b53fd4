"""Decode steps recorded once and replayed: on a CPU what CUDA graphs are on a GPU.

LMDeploy's model is Python that calls operators, in every step of a batch size the same ones on
tensors of the same shapes. The first step of a batch size runs as it is, while a recorder keeps its
tensors and notes what was called on them: instructions of ours (`instructions`), and PyTorch
functions in between. Later steps copy their inputs to where the first one's were and run only that.
Recorded steps never run at the same time, so their results share the same memory, that of the
largest. A model whose step cannot be recorded goes on as before.
"""

import math
import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from lmdeploy.pytorch.backends.graph_runner import GraphRunner
from torch.utils._python_dispatch import TorchDispatchMode

from labutils.cpu.kernels import instructions

ENABLED = os.environ.get("LMDEPLOY_CPU_KERNELS", "1") != "0"
"""Whether operators run as instructions; LMDEPLOY_CPU_KERNELS=0 leaves everything to PyTorch."""
_recorder: ContextVar["Recorder | None"] = ContextVar("recorder", default=None)
PIECE = 2**22
"""Bytes of memory that are reserved at a time for the results of recorded steps."""
_NO_SEQUENCES = np.zeros((0, 0), np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64)


class CannotRecord(Exception):
    """A step depends on more than the numbers in its inputs."""


def fits(*tensors: torch.Tensor | None) -> bool:
    """Whether instructions can work on these: of one dtype they know, rows without gaps."""
    given = [tensor for tensor in tensors if tensor is not None]
    dtype = given[0].dtype
    return (
        ENABLED
        and dtype in instructions.LIKE
        and all(tensor.dtype == dtype and tensor.stride(-1) == 1 for tensor in given)
    )


def is_recording() -> bool:
    """Whether a step is being recorded."""
    return _recorder.get() is not None


def room(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialized tensor for an operator's result."""
    recorder = _recorder.get()
    return recorder.room(shape, dtype) if recorder else torch.empty(shape, dtype=dtype)


def emit(
    kind: int,
    tensors: dict[str, torch.Tensor | None],
    sequences: instructions.Sequences = _NO_SEQUENCES,
    **sizes: float,
) -> None:
    """Run an instruction, and note it if a step is being recorded.

    Args:
        kind: of `instructions`.
        tensors: by the names of INSTRUCTION's addresses; "x" is in the engine's dtype.
        sequences: see `instructions.Sequences`.
        sizes: by the names of INSTRUCTION's other fields.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    program = np.zeros(1, instructions.INSTRUCTION)
    for name, number in {"kind": kind, **sizes}.items():
        program[name] = number
    for name, tensor in given.items():
        program[name] = tensor.data_ptr()
    dtype = given["x"].dtype
    instructions.run(program, dtype, sequences)
    if recorder := _recorder.get():
        recorder.note(program, dtype, list(given.values()))


def refuse_recording(reason: str) -> None:
    """Called by an operator whose arguments are other ones in every step.

    Raises:
        CannotRecord: a step is being recorded.
    """
    if is_recording():
        raise CannotRecord(reason)


class Recorder(TorchDispatchMode):
    """While active, notes what is called; `parts` is what a replay has to do."""

    def __init__(self, memory: list[torch.Tensor]) -> None:
        """Put results into `memory`, which grows when they do not fit."""
        super().__init__()
        self._memory, self._piece, self._used = memory, 0, 0
        self.parts: list[np.ndarray | Callable[[], object]] = []
        self.kept: list[Any] = []
        """Every tensor of the step: none may be freed, for its address is written down."""
        self.dtype: torch.dtype | None = None

    def __enter__(self) -> "Recorder":
        self._token = _recorder.set(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _recorder.reset(self._token)
        super().__exit__(*error)

    def room(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """The next part of the memory as a tensor."""
        size = math.prod(shape) * dtype.itemsize
        while self._piece < len(self._memory):
            piece, start = self._memory[self._piece], self._used
            if start + size <= len(piece):
                self._used = -(-(start + size) // 64) * 64
                return piece[start : start + size].view(dtype).view(shape)
            self._piece, self._used = self._piece + 1, 0
        self._memory.append(torch.empty(max(size, PIECE), dtype=torch.uint8))
        return self.room(shape, dtype)

    def note(self, program: np.ndarray, dtype: torch.dtype, tensors: list[torch.Tensor]) -> None:
        """One more instruction; neighbours are joined."""
        self.dtype = dtype
        self.kept.append(tensors)
        if self.parts and isinstance(self.parts[-1], np.ndarray):
            self.parts[-1] = np.concatenate([self.parts[-1], program])
        else:
            self.parts.append(program)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One of PyTorch's functions: call it, and note it unless it only looked or made room."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        self.kept.append((args, kwargs, result))
        if function is torch.ops.aten._local_scalar_dense.default:
            raise CannotRecord("a number of a tensor decides what the model does")
        if function._schema.is_mutable:
            self.parts.append(lambda: function(*args, **kwargs))
        elif not _is_free(function, result, args):
            self.parts.append(lambda: result.copy_(function(*args, **kwargs)))
        return result


def _is_free(function: Any, result: Any, args: Any) -> bool:
    """Whether a call only made room, or another view of a tensor.

    Raises:
        CannotRecord: it returned something else than one tensor.
    """
    if "empty" in function.__name__:
        return True
    results = list(result) if isinstance(result, (tuple, list)) else [result]
    places = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
    shared = [t.untyped_storage().data_ptr() in places for t in results]
    if len(results) > 1 and not all(shared):
        raise CannotRecord(f"{function} returns several tensors")
    return all(shared)


class Program:
    """A recorded step of one batch size."""

    def __init__(
        self,
        model: Callable[..., torch.Tensor],
        arguments: dict[str, Any],
        memory: list[torch.Tensor],
    ) -> None:
        """Run the step, recording it; see `Recorder` for `memory`.

        Raises:
            CannotRecord: it cannot be replayed.
        """
        self.inputs = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
        with Recorder(memory) as self.recorder:
            self.output = model(**arguments | self.inputs)
        if not isinstance(self.output, torch.Tensor):
            raise CannotRecord("the model returns more than hidden states")

    def replay(self, arguments: dict[str, Any], sequences: instructions.Sequences) -> None:
        """Run the step again on other inputs of the same shapes; `output` holds the result."""
        for name, tensor in self.inputs.items():
            tensor.copy_(arguments[name])
        for part in self.recorder.parts:
            if isinstance(part, np.ndarray):
                instructions.run(part, self.recorder.dtype, sequences)
            else:
                part()


class CpuGraphRunner(GraphRunner):
    """LMDeploy's place for CUDA graphs: calls the model, or what was recorded of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded: addresses of weights or cache are about to change."""
        super().reset()
        self.programs: dict[Any, Program | None] = {}
        self.memory: list[torch.Tensor] = []

    def __call__(self, **kwargs: Any) -> Any:
        """The model's hidden states."""
        metadata = kwargs["attn_metadata"]
        if not metadata.is_decoding or max(metadata.q_lens) > 1:
            return self.model(**kwargs)
        key = len(metadata.q_lens), kwargs["past_key_values"][0][0].data_ptr()
        if key not in self.programs:
            return self._record(key, kwargs)
        program = self.programs[key]
        if program is None:
            return self.model(**kwargs)
        program.replay(kwargs, metadata.sequences)
        return program.output.clone()

    def _record(self, key: Any, arguments: dict[str, Any]) -> Any:
        """Run the first step of a batch size."""
        try:
            self.programs[key] = Program(self.model, arguments, self.memory)
        except CannotRecord:
            self.programs[key] = None
            return self.model(**arguments)
        return self.programs[key].output.clone()
