"""What quantizing the KV cache costs, measured on real K and V.

A `Scheme` quantizes K and V and turns them back into numbers; Transformers' own model then attends
to these. So one model and one engine answer for every scheme, and nothing but the scheme differs:
`attention_error` looks at one layer, `quality` at the whole model's predictions.

Prompts only: a token's K and V are the same in a prompt and in later steps, as in LMDeploy's
engines. Left out: speed; answers that are decoded.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from labutils import kv_cache, kv_offline

States = torch.Tensor
"""[batch, heads, tokens, head_dim]; of K and queries after rotary embedding."""
Scheme = Callable[[int, States, States], tuple[States, States]]
"""(layer, K, V) → K and V as they come back out of the cache, in the dtype that they came in."""


def unquantized(layer: int, key: States, value: States) -> tuple[States, States]:
    """The scheme that changes nothing."""
    return key, value


def online(bits: int, stored: torch.dtype = torch.float16) -> Scheme:
    """Today's quantization, quant_policy 8 or 4: see `labutils.kv_cache.quantize`.

    Args:
        bits: 8 or 4.
        stored: the engine's dtype, in which it keeps scales and zeros: bfloat16 rounds them
            eight times as coarsely as float16.
    """

    def there_and_back(x: States) -> States:
        return kv_cache.dequantize(*kv_cache.quantize(x.to(stored), bits), bits).to(x.dtype)

    return lambda layer, key, value: (there_and_back(key), there_and_back(value))


def offline(qparams: kv_offline.Pairs) -> Scheme:
    """The quantization of 2023, with what `kv_qparams` computed for one tensor-parallel rank."""

    def there_and_back(x: States, params: kv_offline.QParams) -> States:
        return kv_offline.dequantize(kv_offline.quantize(x, params), params).to(x.dtype)

    def scheme(layer: int, key: States, value: States) -> tuple[States, States]:
        k, v = qparams[layer, 0]
        return there_and_back(key, k), there_and_back(value, v)

    return scheme


@contextlib.contextmanager
def attending(
    model: PreTrainedModel, see: Callable[[int, States, States, States], tuple[States, States]]
) -> Iterator[None]:
    """Let `see(layer, query, K, V)` say what K and V every layer attends to.

    Args:
        model: any model of Transformers that takes its attention from `AttentionInterface`.
        see: called once a layer and step.
    """

    def attend(
        layer: Any, query: States, key: States, value: States, mask: Any, **options: Any
    ) -> tuple[torch.Tensor, None]:
        key, value = see(layer.layer_idx, query, key, value)
        return sdpa_attention_forward(layer, query, key, value, mask, **options)

    AttentionInterface.register("labutils", attend)
    usual = model.config._attn_implementation
    model.set_attn_implementation("labutils")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def capture(model: PreTrainedModel, tokens: Sequence[int]) -> list[tuple[States, States, States]]:
    """(queries, K, V) of every layer for one text of these token ids, batch 1."""
    seen: list[tuple[States, States, States]] = []

    def see(layer: int, query: States, key: States, value: States) -> tuple[States, States]:
        seen.append((query, key, value))
        return key, value

    with attending(model, see), torch.no_grad():
        model(torch.tensor([tokens]), use_cache=False)
    return seen


def attention_error(layer: int, query: States, key: States, value: States, scheme: Scheme) -> float:
    """How far a layer's attention output moves: ‖changed - exact‖ / ‖exact‖, causal attention."""

    def output(k: States, v: States) -> States:
        return F.scaled_dot_product_attention(query, k, v, is_causal=True, enable_gqa=True)

    exact = output(key, value)
    return ((output(*scheme(layer, key, value)) - exact).norm() / exact.norm()).item()


@dataclass(frozen=True)
class Quality:
    """How well a model predicts some texts, and how far that is from the unquantized model."""

    cross_entropy: float
    """Nats a token."""
    divergence: float
    """Mean Kullback-Leibler divergence from the unquantized predictions, nats a token."""
    agreement: float
    """Share of places where the likeliest token is the unquantized model's."""


def quality(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], schemes: Mapping[str, Scheme]
) -> dict[str, Quality]:
    """Predict every token of these texts with K and V gone through each scheme.

    Args:
        model: in float32, so that rounding elsewhere does not blur the comparison.
        texts: token ids, all equally long.
        schemes: by name.
    """
    found = [_qualities(model, torch.tensor([tokens]), schemes) for tokens in texts]
    return {
        name: Quality(*map(statistics.fmean, zip(*(text[name] for text in found), strict=True)))
        for name in schemes
    }


@torch.no_grad()
def _qualities(
    model: PreTrainedModel, ids: torch.Tensor, schemes: Mapping[str, Scheme]
) -> dict[str, tuple[float, float, float]]:
    """(cross-entropy, divergence, agreement) of one text by scheme."""

    def predict(scheme: Scheme) -> torch.Tensor:
        with attending(model, lambda layer, query, key, value: scheme(layer, key, value)):
            return model(ids, use_cache=False).logits[0, :-1].log_softmax(-1)

    exact = predict(unquantized)
    found = {}
    for name, scheme in schemes.items():
        ours = predict(scheme)
        found[name] = (
            F.nll_loss(ours, ids[0, 1:]).item(),
            F.kl_div(ours, exact, log_target=True, reduction="batchmean").item(),
            (ours.argmax(-1) == exact.argmax(-1)).float().mean().item(),
        )
    return found
