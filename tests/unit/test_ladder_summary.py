"""Rungs beside the baseline: flips by name, categories that count, and the file."""

from dataclasses import replace

import pytest
from ladder_results import answers, failed, result, shifted

from labutils.errors import LabError
from labutils.ladder.decide import decide
from labutils.ladder.results import Quality
from labutils.ladder.stats import Flips
from labutils.ladder.summary import read, summarise, write


def quality(*results, name="kv-int8"):
    return summarise([*results]).entry(name).quality


def test_an_identical_rung_has_no_flips():
    found = quality(result("baseline"), result("kv-int8"))
    assert (found.flips, found.p_value, found.accuracy_change.value) == ((), 1.0, 0.0)
    assert found.accuracy.value == 0.6


def test_flips_are_named_with_both_replies_and_the_verdict():
    found = quality(result("baseline"), result("kv-int8", shifted(lost=2, gained=1)))
    assert found.counts() == Flips(400, 1, 2)
    first, second, third = found.flips
    assert (first.id, first.right, first.baseline_reply) == ("knowledge-0", True, "reply 0")
    assert (first.reply, first.question) == ("other", "Question 0?")
    assert [second.id, third.id] == ["knowledge-398", "knowledge-399"]
    assert not second.right and not third.right


@pytest.mark.parametrize(
    ("wrong", "counts"), [(71, False), (70, True), (10, True), (9, False), (100, False)]
)
def test_a_category_counts_if_the_baseline_gets_30_to_90_percent(wrong, counts):
    mixed = answers() + answers(range(wrong), items=100, category="hard")
    found = quality(result("baseline", mixed), result("kv-int8", mixed))
    assert {c.name: c.informative for c in found.categories} == {
        "knowledge (en)": True,
        "hard (en)": counts,
    }
    assert found.counts().items == 400 + 100 * counts


def test_languages_are_categories_apart():
    chinese = tuple(replace(a, id=f"zh-{a.id}", language="zh", right=False) for a in answers())
    found = quality(result("baseline", answers() + chinese), result("kv-int8", answers() + chinese))
    names = [(c.name, c.informative) for c in found.categories]
    assert names == [("knowledge (en)", True), ("knowledge (zh)", False)]


def test_without_an_informative_category_there_is_no_accuracy():
    none = answers(range(400))
    found = quality(result("baseline", none), result("kv-int8", none))
    assert found.accuracy is found.accuracy_change is found.p_value is found.counts() is None


def test_rungs_come_in_the_ladders_order_and_failed_ones_keep_their_words():
    found = summarise([result("w4a16"), failed("kv-int4"), result("baseline")])
    assert [entry.name for entry in found.rungs] == ["baseline", "kv-int4", "w4a16"]
    assert (found.rungs[1].status, found.rungs[1].message) == (
        "unsupported",
        "head_dim 64 is no good",
    )
    assert found.rungs[1].quality is None


def test_without_a_baseline_nothing_is_compared_but_everything_is_listed():
    found = summarise([failed("baseline", "crashed"), result("kv-int8")])
    assert found.entry("kv-int8").quality.categories == ()
    assert found.entry("kv-int8").quality.perplexity.value == 18.2


@pytest.mark.parametrize("missing", [answers()[:-1], (*answers(), *answers(category="more"))])
def test_answers_to_other_items_are_refused(missing):
    with pytest.raises(LabError, match=r"^kv-int8 answered other items than the baseline: .*\.$"):
        summarise([result("baseline"), result("kv-int8", missing)])


def test_no_results_are_one_sentence():
    with pytest.raises(LabError, match="no rung to summarise"):
        summarise([])


def test_a_summary_with_its_decision_is_read_back(tmp_path):
    found = summarise([result("baseline"), result("kv-int8", shifted(3, 3)), failed("kv-int4")])
    decided = replace(found, decision=decide(found))
    write(tmp_path / "summary.json", decided)
    assert read(tmp_path / "summary.json") == decided
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(LabError, match="is no file of the format 'lmdeploy-lab ladder summary 1'"):
        read(tmp_path / "summary.json")


def test_a_baseline_without_answers_is_compared_by_its_figures_alone():
    found = quality(
        result("baseline", quality=Quality()), result("kv-int8", quality=Quality(), seconds=1.0)
    )
    assert found.accuracy is None and found.flips == ()
