"""The four steps and the rule of going back, on made-up figures."""

from dataclasses import replace

import pytest
from ladder_results import MIB, answers, failed, result, shifted, summary

from labutils.errors import LabError
from labutils.ladder.decide import decide
from labutils.ladder.decision import Thresholds

NOISE = shifted(lost=6, gained=6)
DAMAGE = shifted(lost=60, gained=4)
VAGUE = shifted(lost=22, gained=14)  # 2 points lost, ± 2.9
ALL_FAIL = {
    name: failed(name.replace("_", "-"))
    for name in ("kv_int8", "kv_int4", "w4a16", "w4a16_kv_int8", "w4a16_kv_int4")
}


def judgements(decision):
    return {verdict.rung: verdict.judgement for verdict in decision.verdicts}


@pytest.mark.parametrize(
    ("replies", "outcome", "rung"),
    [
        ({}, "quantize", "w4a16-kv-int4"),
        ({"kv_int8": NOISE, "w4a16_kv_int4": NOISE}, "quantize", "w4a16-kv-int4"),
        ({"w4a16_kv_int8": DAMAGE, "w4a16_kv_int4": DAMAGE}, "go back", "w4a16"),
        ({"w4a16_kv_int4": DAMAGE}, "quantize", "w4a16-kv-int8"),
        ({"kv_int4": DAMAGE, "w4a16": DAMAGE}, "go back", "kv-int8"),
        ({"w4a16": DAMAGE}, "go back", "kv-int4"),
        ({"kv_int8": DAMAGE, "kv_int4": DAMAGE}, "go back", "baseline"),
        ({"kv_int8": VAGUE, "kv_int4": DAMAGE}, "cannot tell", "baseline"),
        ({"w4a16": VAGUE}, "cannot tell", "kv-int4"),
        ({"kv_int8": failed("kv-int8"), "kv_int4": failed("kv-int4")}, "quantize", "w4a16-kv-int4"),
        ({"kv_int4": failed("kv-int4"), "kv_int8": DAMAGE}, "go back", "baseline"),
        (ALL_FAIL, "nothing else ran", "baseline"),
        ({"baseline": failed("baseline", "crashed")}, "none fits", None),
        (
            {
                name: result(f.name, memory=result("baseline").memory)
                for name, f in ALL_FAIL.items()
            },
            "no gain",
            "baseline",
        ),
    ],
)
def test_the_steps_are_taken_until_one_fails(replies, outcome, rung):
    found = decide(summary(**replies))
    assert (found.outcome, found.rung) == (outcome, rung)
    for language in ("en", "zh"):
        assert found.reasons[language] and "{" not in found.reasons[language]


def test_planted_damage_is_worse_and_the_reason_has_the_figures():
    found = decide(summary(w4a16=DAMAGE))
    assert judgements(found)["w4a16"] == "worse"
    assert "Go back one step and use KV int4" in found.reasons["en"]
    assert "W4A16: 14.0 points lost (4 gained and 60 lost of 400, p < 0.001)" in str(found)
    assert "退回上一步，使用 KV int4：" in found.reasons["zh"]
    assert "4 道由错变对、60 道由对变错" in found.reasons["zh"]


def test_noise_within_the_interval_is_no_difference_shown():
    found = decide(summary(kv_int8=NOISE))
    verdict = found.verdicts[0]
    assert (verdict.rung, verdict.judgement) == ("kv-int8", "accepted")
    assert "no difference shown (6 gained and 6 lost of 400, p = 1)" in verdict.reason["en"]
    assert "未显示出差异" in verdict.reason["zh"]


def test_a_loss_that_is_shown_but_allowed_is_called_a_loss():
    found = decide(summary(kv_int8=shifted(lost=12, gained=1)), Thresholds(accuracy_loss=0.06))
    assert found.verdicts[0].judgement == "accepted"
    assert "a loss of 2.8 points is shown" in found.verdicts[0].reason["en"]


def test_a_gain_that_is_shown_is_called_one():
    found = decide(summary(kv_int8=shifted(lost=0, gained=12)))
    assert "better than the baseline by 3.0 points" in found.verdicts[0].reason["en"]


def test_what_cannot_be_told_says_how_many_more_items_would():
    found = decide(summary(kv_int8=VAGUE, kv_int4=DAMAGE))
    assert 100 < found.more_items == found.verdicts[0].more_items
    assert "cannot be told" in found.reasons["en"] and "more items would tell" in str(found)
    assert "the baseline for now" in found.reasons["en"]
    at_the_limit = decide(summary(w4a16=shifted(lost=18, gained=6)), Thresholds(12 / 402, 0.95))
    assert at_the_limit.outcome == "cannot tell" and at_the_limit.more_items is None
    assert "no reasonable number of items" in at_the_limit.reasons["en"]


def test_moving_the_confidence_moves_the_decision():
    vague = summary(w4a16=VAGUE)
    assert decide(vague, Thresholds(confidence=0.95)).rung == "kv-int4"
    assert decide(vague, Thresholds(confidence=0.5)).rung == "w4a16-kv-int4"
    assert decide(vague, Thresholds(accuracy_loss=0.01, confidence=0.5)).outcome == "go back"


# --- memory, speed, the model itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("mib", "outcome", "rung"),
    [
        (500, "enough", "baseline"),
        (400, "quantize", "kv-int8"),
        (320, "quantize", "kv-int4"),
        (300, "quantize", "w4a16"),
        (200, "quantize", "w4a16-kv-int8"),
        (160, "quantize", "w4a16-kv-int4"),
        (150, "none fits", None),
    ],
)
def test_the_memory_budget_decides(mib, outcome, rung):
    """Baseline 437 MiB, KV int8 353, KV int4 308, W4A16 280, 196 and 151."""
    found = decide(summary(), Thresholds(memory_bytes=mib * MIB, tokens=8192))
    assert (found.outcome, found.rung) == (outcome, rung)
    assert ("fine-tune" in found.reasons["en"]) == (rung is None)


def test_longer_contexts_need_the_kv_cache_quantized():
    budget = {"memory_bytes": 500 * MIB}
    assert decide(summary(), Thresholds(tokens=8192, **budget)).rung == "baseline"
    assert decide(summary(), Thresholds(tokens=20000, **budget)).rung == "kv-int8"


def test_what_fits_but_is_too_lossy_is_not_used():
    lossy = summary(w4a16_kv_int8=DAMAGE, w4a16_kv_int4=DAMAGE)
    assert decide(lossy, Thresholds(memory_bytes=200 * MIB)).outcome == "none fits"
    vague = summary(w4a16_kv_int8=VAGUE, w4a16_kv_int4=DAMAGE)
    found = decide(vague, Thresholds(memory_bytes=200 * MIB))
    assert (found.outcome, found.rung) == ("cannot tell", None) and found.more_items > 0
    assert decide(vague, Thresholds(memory_bytes=160 * MIB)).outcome == "none fits"


def test_a_rung_beyond_a_failed_step_is_named_and_used_if_no_other_fits():
    found = decide(summary(kv_int8=DAMAGE, kv_int4=DAMAGE))
    assert (found.rung, judgements(found)["w4a16"]) == ("baseline", "would do")
    names = "W4A16, W4A16 + KV int8, W4A16 + KV int4"
    assert f"{names}: not reached, the rule stops before; within" in found.reasons["en"]
    found = decide(summary(kv_int8=DAMAGE, kv_int4=DAMAGE), Thresholds(memory_bytes=300 * MIB))
    assert (found.outcome, found.rung) == ("quantize", "w4a16")
    assert "the rule stops before it" in found.reasons["en"]


def test_a_rung_that_is_too_slow_is_passed_over_with_its_figure():
    slow = summary(
        kv_int4=result("kv-int4", tokens_s=8.0), w4a16_kv_int4=result("w4a16-kv-int4", tokens_s=8.0)
    )
    found = decide(slow, Thresholds(tpot=0.1))
    assert (found.outcome, found.rung) == ("quantize", "w4a16-kv-int8")
    assert judgements(found)["kv-int4"] == "too slow"
    assert "KV int4: 125.0 ms a token at concurrency 1, and 100.0 are allowed." in str(found)
    assert decide(slow, Thresholds(tpot=0.01)).outcome == "none fits"
    assert "was not measured" in str(decide(slow, Thresholds(tpot=1, concurrency=16)))


def test_a_rung_that_is_no_smaller_counts_if_it_is_faster_beyond_the_spread():
    same = result("baseline").memory
    rungs = {name: result(each.name, memory=same) for name, each in ALL_FAIL.items()}
    assert decide(summary(**rungs)).outcome == "no gain"
    rungs["w4a16"] = result("w4a16", memory=same, tokens_s=21.0)
    assert decide(summary(**rungs)).outcome == "no gain"
    rungs["w4a16"] = result("w4a16", memory=same, tokens_s=30.0)
    found = decide(summary(**rungs))
    assert (found.outcome, found.rung) == ("quantize", "w4a16")
    assert "it makes 30.0 tokens/s, the baseline 20.0" in found.reasons["en"]


def test_a_model_that_is_too_weak_ends_it_at_step_1():
    found = decide(summary(), Thresholds(least_accuracy=0.7))
    assert (found.outcome, found.rung, found.verdicts) == ("none fits", None, ())
    assert "the baseline gets 60.0 % right (55.1 to 64.7 %)" in found.reasons["en"]
    assert "larger model" in found.reasons["en"] and "更大的模型" in found.reasons["zh"]
    assert decide(summary(), Thresholds(least_accuracy=0.6)).outcome == "quantize"


def test_categories_that_say_nothing_are_left_out_and_named():
    easy = answers(range(2), items=100, category="easy")
    spoilt = tuple(replace(answer, right=False) for answer in easy)
    found = decide(
        summary(
            **{n: answers() + easy for n in ["baseline", *ALL_FAIL]}
            | {"kv_int8": answers() + spoilt}
        )
    )
    assert judgements(found)["kv-int8"] == "accepted"
    assert found.left_out == ("easy (en)",)
    assert "left out: easy (en)." in found.reasons["en"]
    assert "easy (en)" in found.reasons["zh"]


def test_without_any_informative_category_nothing_can_be_told():
    useless = answers(range(400))
    found = decide(summary(**{name: useless for name in ["baseline", *ALL_FAIL]}))
    assert (found.outcome, found.rung, found.more_items) == ("cannot tell", "baseline", None)
    assert "bring items of which it gets 30 to 90 % right" in found.reasons["en"]


def test_what_did_not_run_is_said_with_the_engines_last_words():
    words = "Traceback (most recent call last):\n  File …\nRuntimeError: head_dim 64 is no good.\n"
    found = decide(summary(kv_int4=failed("kv-int4", "crashed", words)))
    assert "KV int4: did not run (crashed): RuntimeError: head_dim 64 is no good." in str(found)
    assert "KV int4：未能运行（崩溃）：RuntimeError" in found.reasons["zh"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"accuracy_loss": -0.1},
        {"accuracy_loss": 3},
        {"confidence": 95},
        {"confidence": 0.4},
        {"tokens": 0},
        {"memory_bytes": 0},
        {"tpot": 0},
        {"concurrency": 0},
        {"least_accuracy": 40},
        {"tpot": float("nan")},
    ],
)
def test_a_threshold_out_of_its_range_is_one_sentence(wrong):
    name = next(iter(wrong))
    with pytest.raises(LabError, match=rf"^The threshold {name} is .*: give it .*\.$"):
        Thresholds(**wrong)
