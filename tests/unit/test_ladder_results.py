"""A rung's file: what is written is read back, what is damaged is refused, what is old is told."""

import json
from dataclasses import replace

import pytest

from labutils.errors import LabError
from labutils.ladder.results import (
    Answer,
    Conditions,
    Figure,
    Memory,
    Quality,
    Result,
    Speed,
    changes,
    fingerprint,
    read,
    reusable,
    write,
)
from labutils.ladder.stats import accuracy

CONDITIONS = Conditions(
    versions={"lmdeploy": "0.18.0", "torch": "2.13.0"},
    hashes={"model": "a" * 64, "items": "b" * 64},
    machine={"processors": "2 × a laptop's"},
    settings={"dtype": "bfloat16", "quick": "yes"},
    seeds={"sampling": 0},
)
RESULT = Result(
    name="kv-int8",
    status="ok",
    message="",
    model="smollm2-135m",
    conditions=CONDITIONS,
    command="lab ladder run --quick",
    started="2025-01-31T12:00:05+00:00",
    seconds=12.5,
    quality=Quality(
        kl_mean=Figure(0.001, "nats", low=0.0008, high=0.0012),
        answers=(Answer("zh-1", "knowledge", "zh", "哪一种？", "香蕉 🍌", True),),
    ),
    memory=Memory(Figure(2.7e8, "bytes"), Figure(11880, "bytes"), Figure(8192, "tokens")),
    predicted=Memory(
        Figure(2.7e8, "bytes", "predicted"),
        Figure(12240, "bytes", "predicted"),
        Figure(8000, "tokens", "predicted"),
    ),
    speed=(Speed(1, Figure(0.3, "seconds"), Figure(0.05, "seconds"), Figure(20, "tokens/s")),),
)


def test_a_result_is_read_back_as_it_was(tmp_path):
    write(tmp_path / "kv-int8.json", RESULT)
    assert read(tmp_path / "kv-int8.json") == RESULT
    assert [path.name for path in tmp_path.iterdir()] == ["kv-int8.json"]


def test_the_file_is_json_for_others_too(tmp_path):
    write(tmp_path / "rung.json", RESULT)
    found = json.loads((tmp_path / "rung.json").read_text("utf-8"))
    assert found["quality"]["answers"][0]["reply"] == "香蕉 🍌"
    assert found["memory"]["weights"] == {
        "value": 2.7e8,
        "unit": "bytes",
        "origin": "measured",
        "low": None,
        "high": None,
        "source": "",
    }


def test_a_rung_that_did_not_run_keeps_the_engines_words(tmp_path):
    failed = replace(RESULT, status="unsupported", message="head_dim 64 <is> no good", quality=None)
    write(tmp_path / "rung.json", failed)
    assert read(tmp_path / "rung.json") == failed


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "is damaged, it is no JSON: delete it"),
        (lambda text: b"", "is damaged, it is no JSON"),
        (lambda text: b"\xff\xfe", "is damaged, it is no JSON"),
        (lambda text: b"[1]", "is no file of the format 'lmdeploy-lab ladder rung 1'"),
        (lambda text: b'{"name": "kv-int8"}', "is no file of the format"),
        (lambda text: text.replace(b"rung 1", b"rung 2"), "is no file of the format"),
        (lambda text: text.replace(b'"ok"', b'"fine"'), r"is damaged at status \(Input should be"),
        (lambda text: text.replace(b"12.5", b'"fast"'), "is damaged at seconds"),
        (lambda text: text.replace(b'"seconds": 12.5', b'"more": 1'), "is damaged at seconds"),
        (lambda text: text.replace(b"11880.0", b"NaN"), "is damaged at memory.kv_per_token"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_sentence(tmp_path, damage, sentence):
    path = tmp_path / "rung.json"
    write(path, RESULT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LabError, match=rf"rung\.json {sentence}") as caught:
        read(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_fields_of_a_later_release_are_passed_over(tmp_path):
    path = tmp_path / "rung.json"
    write(path, RESULT)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"more": 1}), "utf-8")
    assert read(path) == RESULT


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(LabError, match="cannot be read .*: check the path"):
        read(tmp_path / "none.json")


# --- measured before? ----------------------------------------------------------------------------


def test_a_rung_measured_under_the_same_conditions_is_used_again(tmp_path):
    path = tmp_path / "rung.json"
    assert reusable(path, "kv-int8", CONDITIONS) is None
    write(path, RESULT)
    assert reusable(path, "kv-int8", replace(CONDITIONS)) == RESULT


@pytest.mark.parametrize("part", ["versions", "hashes", "machine", "settings"])
def test_every_condition_counts(tmp_path, part):
    write(tmp_path / "rung.json", RESULT)
    key = next(iter(getattr(CONDITIONS, part)))
    other = replace(CONDITIONS, **{part: getattr(CONDITIONS, part) | {key: "other"}})
    assert reusable(tmp_path / "rung.json", "kv-int8", other) is None
    was = getattr(CONDITIONS, part)[key]
    assert changes(CONDITIONS, other) == [f"{part}: {key} {was}, now other"]


def test_the_rung_and_the_seeds_count_and_order_does_not(tmp_path):
    write(tmp_path / "rung.json", RESULT)
    assert reusable(tmp_path / "rung.json", "kv-int4", CONDITIONS) is None
    assert changes(CONDITIONS, replace(CONDITIONS, seeds={})) == ["seeds: sampling 0, now none"]
    turned = replace(CONDITIONS, versions=dict(reversed(CONDITIONS.versions.items())))
    assert fingerprint("kv-int8", turned) == fingerprint("kv-int8", CONDITIONS)


@pytest.mark.parametrize(
    ("status", "again"),
    [("unsupported", False), ("crashed", True), ("timeout", True), ("out of memory", True)],
)
def test_what_may_go_better_next_time_is_measured_again(tmp_path, status, again):
    write(tmp_path / "rung.json", replace(RESULT, status=status, message="why"))
    assert (reusable(tmp_path / "rung.json", "kv-int8", CONDITIONS) is None) == again


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")},
        {"value": float("inf")},
        {"value": 1, "low": 2, "high": 3},
        {"value": 1, "origin": "published"},
        {"value": 1, "source": "a paper"},
    ],
)
def test_a_figure_is_a_number_within_its_interval_and_published_ones_have_a_source(wrong):
    with pytest.raises(ValueError):
        Figure(**{"unit": "bytes"} | wrong)


def test_a_figure_of_an_estimate_has_its_interval():
    found = Figure.of(accuracy([True, False]), "share")
    assert found.low < found.value == 0.5 < found.high and found.origin == "measured"
