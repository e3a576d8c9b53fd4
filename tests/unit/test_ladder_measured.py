"""The arithmetic around what an engine gives: logits compared, memory predicted, speed limits."""

import json
import os

import numpy as np
import pytest
import torch

from labutils import LabError
from labutils.ladder import conditions, logits, measure, memory, speed, weights
from labutils.ladder.plan import FULL
from labutils.ladder.results import Figure, Memory
from labutils.ladder.task import Pipe, Task, heard

PASSAGES = [[3, 1, 4, 1, 5], [2, 7, 1, 8, 2], [0, 1, 2, 3, 4]]


@pytest.fixture
def found() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 9, generator=generator).bfloat16() for _ in PASSAGES]


@pytest.fixture
def baseline(tmp_path, found):
    folder = tmp_path / "logits"
    quality = logits.quality(logits.keeping(found, folder), PASSAGES, None)
    assert (quality.kl_mean, quality.perplexity_ratio) == (None, None)
    logits.finish(folder, "f00")
    return folder


def test_the_same_logits_are_no_distance_apart(found, baseline):
    same = logits.quality(found, PASSAGES, baseline)
    assert (same.kl_mean.value, same.kl_mean.high, same.kl_p99.value) == (0, 0, 0)
    assert (same.top1_agreement.value, same.perplexity_ratio.value) == (1, 1)


def test_other_logits_are(found, baseline):
    other = logits.quality([3 * each for each in found], PASSAGES, baseline)
    assert 0 <= other.kl_mean.low < other.kl_mean.value < other.kl_p99.value
    expected = [
        torch.nn.functional.kl_div(
            (3 * each.float()).log_softmax(-1),
            each.float().log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
        for each in found
    ]
    assert other.kl_mean.value == pytest.approx(np.mean(expected), rel=2e-2), "bfloat16 × 3 rounds"
    assert other.top1_agreement.value == 1


def test_another_vocabulary_is_refused(found, baseline):
    with pytest.raises(LabError, match="another vocabulary"):
        logits.quality([each[:, :8] for each in found], PASSAGES, baseline)


def test_logits_count_once_all_of_them_are_there(tmp_path, found, baseline):
    assert logits.complete(baseline, "f00")
    assert not logits.complete(baseline, "ba5"), "of another baseline"
    next(logits.keeping(found, baseline))  # begun anew, and killed
    assert not logits.complete(baseline, "f00")
    with pytest.raises(LabError, match="logits .*001.safetensors are gone"):
        logits.quality(found, PASSAGES, baseline)


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture
def shape(tmp_path):
    config = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 3,
        "vocab_size": 1000,
    }

    def write(**more):
        (tmp_path / "config.json").write_text(json.dumps(config | more))
        return tmp_path

    return write


def test_memory_is_predicted_from_the_config(shape):
    linear = 3 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)
    rest = 2 * 1000 * 128 + 128 * 7
    cpu = memory.Budget("cpu", False, 2, 16)
    plain = memory.predict(shape(), 8, cpu, 2**30)
    assert plain.weights.value == 2 * (linear + rest)
    assert plain.kv_per_token.value == 3 * 2 * 1 * (64 + 4)
    assert plain.weights.origin == plain.context.origin == "predicted"
    planned = 0.8 * (2**29 - plain.weights.value / 2 - 2 * 1000 * (8192 + 32))
    assert plain.context.value == pytest.approx(planned / plain.kv_per_token.value, rel=1e-3)
    wide = memory.predict(shape(), 0, memory.Budget("cpu", False, 4, 16), 2**30)
    assert wide.weights.value == 4 * (linear + rest)
    four = shape(quantization_config={"group_size": 64})
    assert memory.predict(four, 0, cpu, 2**30).weights.value == (
        linear / 2 + 4 * linear / 64 + 2 * rest
    )
    gpu = memory.Budget("cuda", True, 2, 64)
    found = memory.predict(four, 4, gpu, 2**30)
    assert found.weights.value == linear / 2 + 2.5 * linear / 64 + 2 * rest
    cache = 0.8 * (2**30 - found.weights.value)
    assert found.context.value == pytest.approx(cache / found.kv_per_token.value, rel=1e-3)


# --- speed ----------------------------------------------------------------------------------------


def test_a_step_takes_as_long_as_reading_or_as_multiplying():
    machine = speed.Machine(bandwidth=1e9, matrix_rate=1e12, about={})
    found = Memory(Figure(2e8, "bytes"), Figure(1e4, "bytes"), Figure(1e5, "tokens"))
    assert speed.step_limit(machine, found, 1e8, 1, 100) == pytest.approx(0.201)
    assert speed.step_limit(machine, found, 1e8, 2000, 1) == pytest.approx(0.4)


def test_limits_are_measured_once_for_a_machine(tmp_path, monkeypatch):
    file = tmp_path / "limits.json"
    first = speed.limits(file, "cpu", "float32", {"processor": "this one"})
    assert first.bandwidth > 1e8
    assert first.matrix_rate > 1e8
    assert speed.limits(file, "cpu", "float32", {"processor": "this one"}) == first
    monkeypatch.setattr("labutils.limits.REPEATS", 1)
    assert speed.limits(file, "cpu", "float32", {"processor": "another"}) != first


# --- conditions -----------------------------------------------------------------------------------


def test_a_changed_file_changes_the_hash_though_its_size_is_the_same(tmp_path):
    folder, cache = tmp_path / "model", tmp_path / "hashes.json"
    folder.mkdir()
    file = folder / "model.safetensors"
    file.write_bytes(b"one")
    (folder / "config.json").write_text("{}")
    before = conditions.hash_folder(folder, cache)
    assert conditions.hash_folder(folder, cache) == before
    file.write_bytes(b"two")
    assert conditions.hash_folder(folder, cache) != before
    file.write_bytes(b"one")
    cache.write_text("no JSON")
    assert conditions.hash_folder(folder, cache) == before


def test_conditions_say_where_and_with_what(monkeypatch):
    found = conditions.collect(FULL, {"model": "f00"}, conditions.machine(), compared="itself")
    assert found.versions["lmdeploy"] == "0.18.0"
    assert found.settings["new_tokens"] == "32"
    assert found.settings["compared"] == "itself"
    assert found.machine["cores"].endswith(" cores")
    monkeypatch.setenv("LAB_DEVICE", "cpu")
    assert conditions.machine() != found.machine


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (LabError("no int4 with this head_dim."), "unsupported", "no int4 with this head_dim."),
        (NotImplementedError("fp8"), "unsupported", "NotImplementedError: fp8"),
        (RuntimeError("CUDA out of memory. Tried"), "out of memory", "RuntimeError: CUDA out of"),
        (MemoryError(), "out of memory", "MemoryError:"),
    ],
)
def test_an_engine_that_does_not_start_says_why(error, status, message):
    found = measure.refusal(error)
    assert found.status == status
    assert found.message.startswith(message)


def test_a_model_that_no_group_size_suits_is_unsupported(shape, tmp_path):
    model = shape(hidden_size=100, intermediate_size=100)
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    told = Task(
        "quantize", "w4a16", "odd", str(model), str(tmp_path), FULL, data=(), languages=("en",)
    )
    ours, theirs = os.pipe()
    assert weights.work(told, Pipe(theirs)) == 1
    os.close(theirs)
    with open(ours, encoding="utf-8") as lines:
        said = [heard(line) for line in lines]
    assert said[-1].status == "unsupported"
    assert "No group size (128, 64, 32) divides" in said[-1].message


def test_a_burst_s_figures():
    arrivals = [(0, 0.1, 1), (1, 0.3, 2), (0, 0.6, 3), (1, 0.9, 5), (0, 1.0, 5)]
    found = speed.timed(arrivals, 5)
    assert (found.ttft, found.tpot) == pytest.approx((0.2, (0.9 / 4 + 0.6 / 3) / 2))
    assert found.throughput == pytest.approx(10 / 1.0)


def test_a_burst_in_which_a_request_failed_has_no_speed():
    with pytest.raises(LabError, match="ended a request after 0 of 5 tokens"):
        speed.timed([(0, 0.1, 1), (1, 0.2, 0), (0, 0.3, 5)], 5)


def test_a_burst_in_one_piece_has_no_steps():
    with pytest.raises(LabError, match="decode more"):
        speed.timed([(0, 0.1, 5), (1, 0.2, 5)], 5)
    assert speed.timed([(0, 0.1, 5), (1, 0.2, 3), (1, 0.4, 5)], 5).tpot == pytest.approx(0.1)
