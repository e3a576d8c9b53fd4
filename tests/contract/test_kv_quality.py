"""What KV quantization costs is measured on the model's own K and V."""

import statistics

import pytest
import torch
from quantizing import statistics_of

from labutils.kv_offline import kv_qparams
from labutils.kv_quality import (
    attending,
    attention_error,
    capture,
    offline,
    online,
    quality,
    unquantized,
)

ROUNDING = 1e-3
"""What float16 alone may move an attention output, relative to it."""


@pytest.fixture(scope="module")
def texts(passages) -> list[list[int]]:
    return [text[:128] for text in passages[:4]]


@pytest.fixture(scope="module")
def schemes(reference, texts) -> dict:
    """Calibrated on two texts; two are for measuring."""
    qparams = kv_qparams(*statistics_of(reference, texts[:2]))
    return {"offline": offline(qparams), "int8": online(8), "int4": online(4)}


def test_a_range_per_token_beats_one_per_layer_and_8_bits_beat_4(reference, texts, schemes):
    layers = capture(reference, texts[2])
    assert len(layers) == 30
    errors = {
        name: statistics.fmean(attention_error(i, *qkv, scheme) for i, qkv in enumerate(layers))
        for name, scheme in schemes.items()
    }
    assert ROUNDING < errors["int8"] < 0.5 * errors["offline"] < errors["offline"]
    assert errors["offline"] < 0.5 * errors["int4"] < 0.5
    assert attention_error(0, *layers[0], unquantized) == 0


def test_predictions_suffer_in_the_same_order(reference, texts, schemes):
    found = quality(reference, texts[2:4], {"none": unquantized, **schemes})
    assert (found["none"].divergence, found["none"].agreement) == (0, 1)
    with torch.no_grad():
        losses = [reference(torch.tensor([t]), labels=torch.tensor([t])).loss for t in texts[2:4]]
    assert found["none"].cross_entropy == pytest.approx(torch.stack(losses).mean().item(), abs=1e-4)
    ordered = [found[name] for name in ("none", "int8", "offline", "int4")]
    assert sorted(ordered, key=lambda q: q.divergence) == ordered
    assert found["int8"].agreement > 0.97 > found["int4"].agreement > 0.6
    assert found["int4"].cross_entropy > found["none"].cross_entropy + 0.03


def test_coarser_scales_cost_something(reference, texts):
    layers = capture(reference, texts[2])
    coarse, fine = (
        statistics.fmean(attention_error(i, *qkv, online(8, dtype)) for i, qkv in enumerate(layers))
        for dtype in (torch.bfloat16, torch.float16)
    )
    assert coarse > 1.2 * fine


def test_the_model_is_left_as_it_was(reference, texts):
    usual = reference.config._attn_implementation

    def fail(*args):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), attending(reference, fail):
        reference(torch.tensor([texts[0]]))
    assert reference.config._attn_implementation == usual
    with torch.no_grad():
        reference(torch.tensor([texts[0]]))
