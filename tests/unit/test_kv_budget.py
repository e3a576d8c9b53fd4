"""The KV budget follows from the model's shape and the release."""

import json

import pytest

from labutils.errors import LabError
from labutils.kv_budget import KVShape, bytes_per_token, cache_bytes, setting, tokens_that_fit

INTERNLM2_7B = KVShape(layers=32, kv_heads=8, head_dim=128)
GIB = 2**30


@pytest.mark.parametrize(("policy", "kib"), [(0, 128), (8, 66), (4, 34)])
def test_internlm2_7b_takes_what_lmdeploy_says(policy, kib):
    assert bytes_per_token(INTERNLM2_7B, policy) == kib * 1024


def test_scales_and_zeros_have_the_engines_dtype():
    assert bytes_per_token(KVShape(1, 1, 64), 8, itemsize=4) == 2 * (64 + 8)
    assert bytes_per_token(KVShape(1, 1, 64), 4, itemsize=2) == 2 * (32 + 4)


@pytest.mark.parametrize("policy", [1, 3, 16, 17, 42])
def test_other_formats_are_refused(policy):
    with pytest.raises(LabError, match=f"quant_policy={policy}: only 0, 8 .int8. and 4 .int4."):
        bytes_per_token(INTERNLM2_7B, policy)


def test_memory_comes_in_whole_blocks():
    assert tokens_that_fit(6399, 100) == 0
    assert tokens_that_fit(6400, 100) == 64
    assert tokens_that_fit(12799, 100) == 64
    assert tokens_that_fit(12800, 100, block=128) == 128


@pytest.mark.parametrize(
    ("release", "default", "gib"),
    [
        ("0.0.14", 48, 48),  # a GiB each
        ("0.1.0", 0.5, 40),
        ("0.2.1", 0.5, 40),
        ("0.2.2", 0.8, 52),
        ("0.2.4", 0.8, 52),
        ("0.9.2.post1", 0.8, 52),
        ("0.18.0", 0.8, 52),
    ],
)
def test_cache_max_entry_count_means_something_else_by_release(release, default, gib):
    assert setting(release).default == default
    assert cache_bytes(release, 80 * GIB, 15 * GIB, sequence=GIB) == pytest.approx(gib * GIB)


def test_a_given_count_replaces_the_default():
    assert cache_bytes("0.0.14", 80 * GIB, 15 * GIB, GIB, count=8) == 8 * GIB
    assert cache_bytes("0.18.0", 80 * GIB, 16 * GIB, GIB, count=0.25) == 16 * GIB


@pytest.mark.parametrize("release", ["0.99.0", "latest", "", "0.2"])
def test_no_release_is_refused(release):
    with pytest.raises(LabError, match="is no LMDeploy release from 0.0.13 to 0.18.0"):
        setting(release)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"num_key_value_heads": 3, "head_dim": 16}, KVShape(2, 3, 16)),
        ({"num_key_value_heads": None}, KVShape(2, 9, 64)),
        ({}, KVShape(2, 9, 64)),
    ],
)
def test_the_shape_comes_from_config_json(tmp_path, config, shape):
    whole = {"num_hidden_layers": 2, "num_attention_heads": 9, "hidden_size": 576, **config}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert KVShape.of(tmp_path) == shape


@pytest.mark.parametrize("content", [None, "{}", "no JSON", "[]"])
def test_a_folder_that_does_not_say_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(LabError, match="does not say how many layers and heads"):
        KVShape.of(tmp_path)
