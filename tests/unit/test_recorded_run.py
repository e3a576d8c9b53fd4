"""The recorded run of the ladder that lesson 07 reads: whole, of today's items, judged as today.

That it decides as today and names no folder: `test_ladder_shared`.
"""

import pytest

from labutils.ladder import data, items, summary
from labutils.ladder.rungs import RUNGS
from labutils.paths import DATA

FILE = DATA / "ladder" / "smollm2-135m.json"


@pytest.fixture(scope="module")
def recorded() -> summary.Summary:
    return summary.read(FILE)


def test_every_rung_was_measured(recorded):
    assert [(entry.name, entry.status) for entry in recorded.rungs] == [
        (rung.name, "ok") for rung in RUNGS
    ]


def test_it_is_of_the_items_and_texts_that_are_shipped(recorded):
    now = data.hashes(data.files("en"), ("en",))
    assert {name: recorded.conditions.hashes[name] for name in now} == now


def test_todays_rules_judge_the_flips_as_they_were_judged(recorded):
    by_id = {item.id: item for item in items.read(data.SHIPPED["en"])}
    flips = [flip for entry in recorded.rungs for flip in entry.quality.flips]
    assert len(flips) > 100
    for flip in flips:
        verdicts = [
            items.is_right(by_id[flip.id], each) for each in (flip.baseline_reply, flip.reply)
        ]
        assert verdicts == [not flip.right, flip.right], flip.id
