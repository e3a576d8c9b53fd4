"""The KV budget follows from the model's shape and the release."""

import json

import pytest

from labutils.commands import history
from labutils.commands.history import order
from labutils.errors import LabError
from labutils.kv_budget import SETTINGS, KVShape, bytes_per_token, tokens_that_fit

INTERNLM2_7B = KVShape(layers=32, kv_heads=8, head_dim=128)


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


@pytest.mark.parametrize("command", ["chat turbomind", "serve api_server"])
def test_the_defaults_are_those_that_command_lines_had(command):
    rows = [row for row in history.ever(command) if row.name == "cache-max-entry-count"]
    assert {float(row.default) for row in rows} == {0.5, 0.8}
    for row in rows:
        *_, meant = (each for each in SETTINGS if order(each.since) <= order(row.first))
        assert float(row.default) == meant.default
        later = [each for each in SETTINGS if order(each.since) > order(meant.since)]
        assert not later or history.after(row.last) == later[0].since


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
