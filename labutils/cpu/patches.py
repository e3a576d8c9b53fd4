"""The functions of LMDeploy 0.18.0 that must answer differently on a CPU.

Each patch names its target and is applied right after the target's module has run. A target that
does not exist means that this is not the LMDeploy the patch was written for: that is an error, not
something to pass over. What the CPU device cannot do is refused here, before any weight is loaded.
"""

import asyncio
import contextlib
import dataclasses
import functools
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from labutils.cpu import SUPPORTED
from labutils.errors import LabError

KV_FORMATS = {0: "", 8: "int8 ", 4: "int4 "}
"""What the KV cache may be quantized to, by quant_policy."""

Replacement = Callable[[Any], Any]
_PATCHES: dict[str, list[tuple[str, Replacement]]] = {}


def patch(module: str, target: str) -> Callable[[Replacement], Replacement]:
    """Register a function that takes `module`'s `target` and returns what replaces it."""

    def register(replacement: Replacement) -> Replacement:
        _PATCHES.setdefault(module, []).append((target, replacement))
        return replacement

    return register


def apply(module: ModuleType) -> None:
    """Apply the patches of a module that has just been imported; LabError if a target is gone."""
    for target, replacement in _PATCHES.get(module.__name__, ()):
        *outer, name = target.split(".")
        owner = functools.reduce(lambda o, part: getattr(o, part, None), outer, module)
        if not hasattr(owner, name):
            raise LabError(
                f"{module.__name__} has no {target}, so the CPU device cannot be added to it: "
                f"reinstall LMDeploy {' or '.join(SUPPORTED)} (make run does)."
            )
        setattr(owner, name, replacement(getattr(owner, name)))


def check_version(spec: importlib.machinery.ModuleSpec) -> None:
    """Refuse an LMDeploy that the patches were not written for, naming those they were."""
    version_file = Path(spec.origin or "").with_name("version.py")
    if not version_file.is_file():
        raise LabError(f"{version_file} is missing: reinstall LMDeploy {' or '.join(SUPPORTED)}.")
    version: dict[str, Any] = {}
    exec(version_file.read_text(encoding="utf-8"), version)
    if version["__version__"] not in SUPPORTED:
        raise LabError(
            f"LMDeploy {version['__version__']} is installed, but the CPU device knows only "
            f"{' and '.join(SUPPORTED)}: install that (make run does), or set LMDEPLOY_CPU=0."
        )


@patch("lmdeploy.pytorch.backends.selector", "_get_backend")
def _select_cpu_backend(original: Callable) -> Callable:
    def _get_backend() -> type:
        from labutils.cpu.backend import CpuOpsBackend

        return CpuOpsBackend

    return _get_backend


@patch("lmdeploy.archs", "autoget_backend")
def _choose_pytorch_engine(original: Callable) -> Callable:
    """TurboMind exists on CUDA only: on a CPU, automatic means the PyTorch engine."""
    return lambda *args, **kwargs: "pytorch"


@patch("lmdeploy.utils", "is_bf16_supported")
def _bfloat16_is_native(original: Callable) -> Callable:
    return lambda device_type="cpu": True


@patch("lmdeploy.utils", "get_max_batch_size")
def _limit_batch_size(original: Callable) -> Callable:
    """A batch beyond 32 makes no CPU faster, but makes every answer of a class slower."""
    return lambda device_type="cpu": 32


@patch("lmdeploy.pytorch.backends.graph_runner", "GraphRunner.get_capture_batch_sizes")
def _warm_up_once(original: Callable) -> Callable:
    """A batch size is recorded when it first comes (`recording`): one is warm-up enough."""
    return lambda self: [1]


@patch("lmdeploy.pytorch.backends.default.rotary_embedding", "_rotary_embedding_fwd")
def _skip_torch_compile(original: Callable) -> Callable:
    """The plain function: torch.compile would need a C++ compiler on the student's machine."""
    return original.__wrapped__


@patch("lmdeploy.pytorch.config", "_update_torch_dtype")
def _prefer_bfloat16(original: Callable) -> Callable:
    """`dtype='auto'` means bfloat16: float16 arithmetic is many times slower on a CPU.

    For 4-bit weights LMDeploy takes float16, whatever is asked: its GPU kernels have no other.
    """

    def _update_torch_dtype(config: Any, dtype: str, device_type: str = "auto") -> Any:
        import torch

        config = original(config, dtype, device_type)
        config.dtype = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
        return config

    return _update_torch_dtype


@patch("lmdeploy.pytorch.engine.engine_checker", "EngineChecker.handle")
def _check_for_cpu(original: Callable) -> Callable:
    """LMDeploy's own checks that make sense here, after ours; the CUDA and Triton ones do not."""

    def handle(self: Any) -> None:
        refuse_unsupported_options(self.engine_config)
        models = [c for c in self._required_checker if type(c).__name__ == "ModelChecker"]
        for checker in models:
            refuse_unsupported_model(checker.model_path, checker.trust_remote_code)
            checker.check()
        self.check()

    return handle


@patch("lmdeploy.pytorch.engine.model_agent.agent", "_try_to_cuda")
def _copy_to_device(original: Callable) -> Callable:
    """A copy to the device is a copy here too.

    The scheduler's inputs travel in objects whose `to_device` hands a CPU tensor over as it is.
    LMDeploy counts on two tensors: the engine adds to its own in place while the scheduler may
    still read the other.
    """

    def _try_to_cuda(value: Any, non_blocking: bool = False) -> Any:
        import torch

        moved = original(value, non_blocking=non_blocking)
        if isinstance(moved, torch.Tensor) or not dataclasses.is_dataclass(moved):
            return moved
        for field in dataclasses.fields(moved):
            content = getattr(moved, field.name)
            if isinstance(content, torch.Tensor):
                setattr(moved, field.name, content.clone())
        return moved

    return _try_to_cuda


@patch("lmdeploy.pytorch.engine.model_agent.agent", "BaseModelAgent.async_forward")
def _forward_in_a_thread(original: Callable) -> Callable:
    """Run the forward pass in a worker thread.

    On a GPU the call returns at once and the event loop goes on serving; on a CPU the pass itself
    takes the time, and a server could not even answer /health meanwhile.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="cpu-forward")

    async def async_forward(self: Any, inputs: Any, cache_inputs: Any = None) -> Any:
        step = functools.partial(self._forward_impl, inputs, cache_inputs=cache_inputs)
        return await asyncio.get_running_loop().run_in_executor(worker, step)

    return async_forward


class _OutlivingCondition:
    """A condition whose server may be gone by the time it is released."""

    def __init__(self, condition: Any) -> None:
        self.condition = condition
        self.notify = condition.notify

    def __enter__(self) -> Any:
        return self.condition.__enter__()

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            self.condition.__exit__(*error)


@patch("lmdeploy.pytorch.engine.mp_engine.zmq_engine", "ZMQMPEngine._mp_proc")
def _start_on_a_busy_machine(original: Callable) -> Callable:
    """Let a server's engine process live through its own start.

    It tells its parent the port and releases a shared lock; the parent, once it knows the port,
    shuts down the process that keeps the lock. On two busy cores that often comes before the
    answer to the release, and LMDeploy 0.18.0's engine then dies of an EOFError.
    """

    @functools.wraps(original)
    def _mp_proc(shared_dict: Any, condition: Any, *args: Any, **kwargs: Any) -> None:
        original(shared_dict, _OutlivingCondition(condition), *args, **kwargs)

    return staticmethod(_mp_proc)


@patch("lmdeploy.pytorch.nn.embedding", "ParallelEmbedding.__init__")
def _keep_the_pad_token(original: Callable) -> Callable:
    """The pad token's embedding as the checkpoint has it.

    LMDeploy 0.18.0 sets that row to zero, on every device. Fine-tuned ChatML models often name
    <|im_end|> as their pad token, and every prompt of theirs contains it; Transformers
    computes with the row, so this engine does, too.
    """

    def __init__(
        self: Any, vocab_size: int, hidden_size: int, padding_idx: int | None, *args: Any, **kw: Any
    ) -> None:
        original(self, vocab_size, hidden_size, None, *args, **kw)

    return __init__


@patch("lmdeploy.pytorch.messages", "HistoryLogits.get_logits")
def _read_float32_logits(original: Callable) -> Callable:
    """Logits of a prompt that was prefilled in chunks, in float32 too.

    LMDeploy keeps them as int16 and gives the result the shape of those: right for the 16-bit
    types that it runs in on a GPU, twice as wide as there are numbers for float32.
    """

    def get_logits(self: Any) -> Any:
        import torch

        if self._data is None or self._torch_dtype != torch.float32:
            return original(self)
        return torch.from_numpy(self.get_real()).view(torch.float32)

    return get_logits


@patch("lmdeploy.pytorch.engine.cache_engine.engine", "CacheEngine.__init__")
def _say_what_was_set_up(original: Callable) -> Callable:
    """Print the KV cache's size in tokens: the number that decides what a session can hold."""

    def __init__(self: Any, cache_config: Any, *args: Any, **kwargs: Any) -> None:
        import torch

        original(self, cache_config, *args, **kwargs)
        tokens = cache_config.num_gpu_blocks * cache_config.block_size
        kind = KV_FORMATS[int(cache_config.quant_policy)]
        print(
            f"LMDeploy on the CPU device: {torch.get_num_threads()} threads, {kind}KV cache for "
            f"{tokens:,} tokens ({self.gpu_allocation.nbytes / 2**30:.2f} GiB)",
            file=sys.stderr,
        )

    return __init__


@patch("lmdeploy.lite.quantization.calibration", "auto_scale_block")
def _search_on_copies(original: Callable) -> Callable:
    """Let `auto_awq --search-scale` put a layer's weights back as they were.

    While it tries scales, it keeps the weights with `.cpu()`: a copy where they are on a GPU, the
    very same tensor here. What it then puts back is already scaled; in LMDeploy 0.18.0 with
    --device cpu, every layer ends up wrong and nothing is said.
    """

    def copy(module: Any, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
        state.update({name: tensor.clone() for name, tensor in state.items()})

    @functools.wraps(original)
    def auto_scale_block(module: Any, *args: Any, **kwargs: Any) -> None:
        hooks = [part.register_state_dict_post_hook(copy) for part in module.modules()]
        try:
            original(module, *args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()

    return auto_scale_block


def refuse_unsupported_options(engine_config: Any) -> None:
    """LabError, in one sentence, for the first engine option that the CPU device cannot honour."""
    parallel = {name: getattr(engine_config, name) for name in ("tp", "dp", "ep")}
    for name, degree in parallel.items():
        if degree > 1:
            raise LabError(f"{name}={degree} needs several GPUs; the CPU device runs {name}=1.")
    if engine_config.quant_policy not in KV_FORMATS:
        raise LabError(
            f"quant_policy={int(engine_config.quant_policy)} is not available on the CPU device: "
            "choose 8 (int8), 4 (int4) or 0 (none)."
        )
    if engine_config.adapters:
        raise LabError("LoRA adapters are not available on the CPU device; merge them first.")


def refuse_unsupported_model(model_path: str, trust_remote_code: bool = False) -> None:
    """LabError, in one sentence, if the CPU device has no operators for this model.

    Reads only config.json. Vision models, MLA, weights quantized otherwise than in AWQ's 4 bits,
    and attention with learned sinks, soft-capped logits or ALiBi are refused; so is an
    architecture that LMDeploy's PyTorch engine itself does not know.
    """
    from lmdeploy.hf_configs import config_from_pretrained
    from lmdeploy.pytorch.models.module_map import MODULE_MAP

    config = config_from_pretrained(model_path, trust_remote_code=trust_remote_code)
    architecture = (getattr(config, "architectures", None) or ["unknown"])[0]
    reason = _why_not(config)
    if architecture not in MODULE_MAP:
        reason = "LMDeploy's PyTorch engine has no such architecture"
    if reason:
        raise LabError(f"{architecture} in {model_path} cannot run on the CPU device: {reason}.")


def _why_not(config: Any) -> str | None:
    """What in a Hugging Face config the CPU device has no operator for, or None."""
    from labutils.cpu import linear_w4

    if reason := linear_w4.why_not(getattr(config, "quantization_config", None) or {}):
        return reason
    refused = {
        "vision_config": "it has a vision encoder",
        "kv_lora_rank": "it uses multi-head latent attention (MLA)",
        "attn_logit_softcapping": "it caps its attention logits",
        "num_local_experts": "it is a mixture of experts",
        "num_experts": "it is a mixture of experts",
        "alibi": "it uses ALiBi positions",
    }
    return next((why for key, why in refused.items() if getattr(config, key, None)), None)
