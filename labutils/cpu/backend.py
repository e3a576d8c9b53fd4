"""LMDeploy's operator table for the CPU device.

LMDeploy builds a model from operator requests ("build specs") and asks its backend for each. The
CPU backend answers those that take a step's time itself and leaves the rest to LMDeploy's own
plain-PyTorch backend.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lmdeploy.pytorch.backends.activation import SiluAndMulBuildSpec
from lmdeploy.pytorch.backends.apply_rotary_emb import ApplyRotaryEmbBuildSpec
from lmdeploy.pytorch.backends.attention import PagedAttentionBuildSpec
from lmdeploy.pytorch.backends.awq_modules import LinearW4A16BuildSpec
from lmdeploy.pytorch.backends.default import DefaultOpsBackend
from lmdeploy.pytorch.backends.default.cache import DefaultCacheBackend
from lmdeploy.pytorch.backends.linear import LinearBuildSpec
from lmdeploy.pytorch.backends.multinomial_sampling import MultinomialSamplingBuildSpec
from lmdeploy.pytorch.backends.norm import RMSNormBuildSpec
from lmdeploy.pytorch.engine.cache_engine.layout import CacheAllocation, CachePool

from labutils.cpu.attention import CpuAttention, CpuAttentionMetadata, build_metadata
from labutils.cpu.elementwise import CpuApplyRotaryEmb, CpuRMSNorm, CpuSiluAndMul
from labutils.cpu.linear import CpuLinear
from labutils.cpu.linear_w4 import CpuLinearW4A16
from labutils.cpu.recording import CpuGraphRunner
from labutils.cpu.sampling import CpuMultinomialSampling


@dataclass(frozen=True)
class LazyBlockCacheLayout:
    """One contiguous tensor [layers, blocks, *block shape] per cache, backed by untouched pages.

    numpy's zeros come from the kernel on first use, torch's are written at once: with a cache
    sized for the longest session, that is seconds of start-up and gigabytes for nothing.
    """

    tensor_specs: tuple[Any, ...]
    num_layers: int

    def allocate(self, num_blocks: int, device: Any) -> CacheAllocation:
        """Reserve the caches of `num_blocks` blocks."""
        views = tuple(self._zeros(spec, num_blocks) for spec in self.tensor_specs)
        return CacheAllocation(tuple(CachePool(view, entry_axis=1) for view in views), views)

    def _zeros(self, spec: Any, num_blocks: int) -> torch.Tensor:
        dtype = spec.desc.dtype
        integers = np.dtype(f"i{dtype.itemsize}")  # numpy has no bfloat16
        pages = np.zeros((self.num_layers, num_blocks, *spec.desc.shape), integers)
        return torch.from_numpy(pages).view(dtype)


class CpuCacheBackend(DefaultCacheBackend):
    """Keeps each cache contiguous, so that attention can read consecutive blocks as one view."""

    @classmethod
    def build_block_layout(cls, tensor_specs: Any, num_layers: int) -> LazyBlockCacheLayout:
        """Storage for K and V blocks."""
        return LazyBlockCacheLayout(tuple(tensor_specs), num_layers)


class CpuOpsBackend(DefaultOpsBackend):
    """The CPU device's operators."""

    @staticmethod
    def get_name() -> str:
        return "cpu"

    @classmethod
    def build_op(cls, spec: Any, *, enable_deterministic: bool = False) -> Any:
        """The CPU implementation of an operator, or LMDeploy's plain-PyTorch one."""
        if isinstance(spec, PagedAttentionBuildSpec):
            return CpuAttention.from_spec(spec)
        if isinstance(spec, LinearW4A16BuildSpec):
            return CpuLinearW4A16(spec.in_features, spec.out_features, spec.group_size)
        if isinstance(spec, RMSNormBuildSpec):
            return CpuRMSNorm(spec.eps)
        if isinstance(spec, LinearBuildSpec):
            return CpuLinear()
        if isinstance(spec, ApplyRotaryEmbBuildSpec):
            return CpuApplyRotaryEmb()
        if isinstance(spec, SiluAndMulBuildSpec):
            return CpuSiluAndMul(spec.inplace)
        if isinstance(spec, MultinomialSamplingBuildSpec):
            return CpuMultinomialSampling()
        return super().build_op(spec, enable_deterministic=enable_deterministic)

    @staticmethod
    def build_graph_runner(model: torch.nn.Module, *context: Any, **options: Any) -> CpuGraphRunner:
        """What calls the model."""
        return CpuGraphRunner(model, *context, **options)

    @classmethod
    def get_cache_backend(cls) -> type[CpuCacheBackend]:
        return CpuCacheBackend

    @staticmethod
    def get_attention_metadata_cls() -> type[CpuAttentionMetadata]:
        return CpuAttentionMetadata

    @classmethod
    def update_step_context(cls, step_context: Any) -> Any:
        """Attach this step's attention metadata."""
        step_context.attn_metadata = build_metadata(step_context)
        return step_context

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def ccl_backend() -> str:
        return "gloo"
