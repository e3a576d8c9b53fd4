"""Intervals keep their promise, and the paired test agrees with textbooks."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from labutils.ladder.stats import Flips, accuracy, flips, mean, share

RNG = np.random.default_rng(8)


# --- means over tokens ---------------------------------------------------------------------------


def test_passages_of_one_token_give_students_t_interval():
    values = RNG.normal(size=30)
    found = mean([[value] for value in values])
    expected = scipy_stats.t.interval(0.95, 29, values.mean(), scipy_stats.sem(values))
    assert (found.value, found.standard_error) == pytest.approx(
        (values.mean(), scipy_stats.sem(values))
    )
    assert (found.low, found.high) == pytest.approx(expected)


def test_repeating_the_tokens_of_a_passage_adds_no_certainty():
    """What clustering is for: copies of a token are no further evidence."""
    values = RNG.normal(size=12)
    once, often = mean([[v] for v in values]), mean([[v] * 50 for v in values])
    assert often.standard_error == pytest.approx(once.standard_error)
    assert (once.count, often.count) == (12, 600)


def test_a_long_passage_weighs_by_its_tokens():
    assert mean([[1.0] * 9, [0.0]]).value == pytest.approx(0.9)


def test_passages_of_different_lengths_do_not_differ_by_their_length():
    assert mean([[2.0] * 3, [2.0] * 50, [2.0]]).standard_error == 0


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """2000 sets of 20 passages whose tokens resemble each other; skewed, as KL is."""
    shifts = RNG.exponential(size=(2000, 20, 1)) + RNG.normal(size=(2000, 20, 10))
    found = [mean(list(passages)) for passages in shifts]
    covered = sum(each.low <= 1 <= each.high for each in found) / len(found)
    assert 0.90 < covered < 0.97


def test_a_share_of_everything_still_has_a_width_and_stays_within_1():
    all_agree = share([[True] * 100, [True] * 100])
    assert (all_agree.value, all_agree.high) == (1.0, 1.0)
    assert all_agree.low == pytest.approx(1 / (1 + 1.959964**2 / 200), abs=1e-6)
    assert share([[True] * 99 + [False], [True] * 100]).high <= 1


def test_a_share_is_less_sure_where_disagreement_is_bunched():
    bunched = share([[False] * 50, *[[True] * 50] * 9])
    even = share([[False] * 5 + [True] * 45] * 10)
    assert bunched.value == even.value == 0.9
    assert bunched.low < even.low and bunched.high > even.high


@pytest.mark.parametrize("passages", [[], [[1.0, 2.0]], [[1.0], []], [[1.0], [math.inf]]])
def test_a_mean_without_an_error_is_refused(passages):
    with pytest.raises(ValueError):
        mean(passages)


def test_accuracy_has_wilsons_interval():
    """15 of 148 in Newcombe, Statistics in Medicine 17 (1998), 857-872, table I."""
    found = accuracy([True] * 15 + [False] * 133)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0624, 0.1605)
    with pytest.raises(ValueError):
        accuracy([])


# --- answers, right or wrong ---------------------------------------------------------------------


def test_identical_answers_have_no_flips_and_p_1():
    same = flips([True, False, True], [True, False, True])
    assert (same.gained, same.lost, same.p_value) == (0, 0, 1.0)
    found = same.difference()
    assert found.value == 0 and found.low == -found.high < 0


def test_flips_are_counted_by_direction():
    assert flips([True, True, False, True], [False, False, True, True]) == Flips(4, 1, 2)
    with pytest.raises(ValueError):
        flips([True], [])


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (2, 12, 0.0129),  # Armitage and Berry 1994, p. 127: media for tuberculosis cultures
        (12, 2, 0.0129),
        (0, 5, 0.0625),
        (0, 6, 0.03125),
        (10, 10, 1.0),
    ],
)
def test_mcnemars_exact_test_gives_the_known_values(gained, lost, p):
    assert Flips(50, gained, lost).p_value == pytest.approx(p, abs=5e-5)


def test_the_paired_interval_is_agresti_and_mins():
    """By hand from their formula: (12-2)/52 ± 1.96 √(15 - 10²/52)/52."""
    found = Flips(50, 12, 2).difference()
    assert (found.value, round(found.low, 4), round(found.high, 4)) == (0.2, 0.0560, 0.3286)
    mirrored = Flips(50, 2, 12).difference()
    assert (mirrored.low, mirrored.high) == (-found.high, -found.low)


def test_the_paired_interval_covers_small_losses():
    """100 items, 6 % lost and 3 % gained: it covers the loss of 3 % in 95 of 100 cases, or more."""
    drawn = RNG.multinomial(100, [0.03, 0.06, 0.91], size=4000)
    found = [Flips(100, int(g), int(lost)).difference() for g, lost, _ in drawn]
    assert sum(each.low <= -0.03 <= each.high for each in found) / len(found) > 0.94


@pytest.mark.parametrize("impossible", [Flips(0, 0, 0), Flips(3, 2, 2)])
def test_impossible_counts_are_refused(impossible):
    with pytest.raises(ValueError, match="impossible"):
        impossible.difference()


# --- how many more items -------------------------------------------------------------------------


def test_enough_items_need_no_more():
    assert Flips(2000, 10, 10).more_items(allowed=0.03) == 0


def test_more_items_are_needed_the_closer_the_loss_is_to_what_is_allowed():
    clear, close = Flips(100, 5, 5).more_items(0.05), Flips(100, 3, 6).more_items(0.05)
    assert 0 < clear < close
    assert Flips(100, 5, 5).more_items(0.05, confidence=0.99) > clear
    assert Flips(98, 0, 5).more_items(0.05) is None  # exactly at the limit: never


def test_with_the_items_asked_for_four_of_five_such_ladders_settle_it():
    """10 % of the items flip, half of them each way, and a loss of 3 points is allowed."""
    seen = Flips(200, 10, 10)
    total = 200 + seen.more_items(0.03, confidence=0.95)
    drawn = RNG.multinomial(total, [0.05, 0.05, 0.9], size=2000)
    lows = [Flips(total, int(g), int(lost)).difference(0.90).low for g, lost, _ in drawn]
    assert sum(low > -0.03 for low in lows) / len(lows) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("right", [False, True])
def test_the_interval_of_nothing_right_or_all_right_holds_its_value(right):
    """By the formula alone, rounding puts the end beside it: 6e-18 for none of 48."""
    for count in range(1, 300):
        found = accuracy([right] * count)
        assert found.low <= found.value <= found.high
