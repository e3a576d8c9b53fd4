"""Which rungs `--rungs` asks for."""

import pytest

from labutils.errors import LabError
from labutils.ladder.rungs import BASELINE, RUNGS, parse, rung


def test_the_ladder_is_the_sources_four_steps_with_both_kv_widths():
    assert [(r.step, r.weights, r.quant_policy) for r in RUNGS] == [
        (1, "unquantized", 0),
        (2, "unquantized", 8),
        (2, "unquantized", 4),
        (3, "w4a16", 0),
        (4, "w4a16", 8),
        (4, "w4a16", 4),
    ]
    assert [r.order for r in RUNGS] == list(range(6))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", [r.name for r in RUNGS]),
        ("w4a16", ["baseline", "w4a16"]),
        (" w4a16-kv-int4 , kv-int8,kv-int8,", ["baseline", "kv-int8", "w4a16-kv-int4"]),
        ("baseline", ["baseline"]),
    ],
)
def test_named_rungs_come_once_in_order_behind_the_baseline(text, names):
    assert [r.name for r in parse(text)] == names
    assert parse(text)[0] is BASELINE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kv-int8,int4", r"^There is no rung 'int4': choose among baseline, kv-int8, .*int4\.$"),
        ("All", "^There is no rung 'All'"),
        ("", "^--rungs names no rung: write all, or some of baseline,kv-int8"),
        (" , ", "^--rungs names no rung"),
    ],
)
def test_an_unknown_name_and_no_name_are_one_sentence(text, sentence):
    with pytest.raises(LabError, match=sentence):
        parse(text)


def test_a_rung_is_found_by_its_name():
    assert all(rung(each.name) is each for each in RUNGS)
