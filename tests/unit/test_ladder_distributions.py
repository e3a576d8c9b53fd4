"""KL divergence, agreement and perplexity of logits, against definitions and closed forms."""

import math

import numpy as np
import pytest

from labutils.ladder.distributions import (
    cross_entropy,
    kl_divergence,
    percentile_99,
    perplexity,
    perplexity_ratio,
    top1_agrees,
)

RNG = np.random.default_rng(8)
LOGITS = RNG.normal(scale=3, size=(150, 40)).astype(np.float32)


def test_identical_logits_have_kl_0_and_agree_everywhere():
    assert kl_divergence(LOGITS, LOGITS).max() == 0
    assert top1_agrees(LOGITS, LOGITS).all()


def test_a_constant_added_to_all_logits_changes_nothing():
    assert kl_divergence(LOGITS, LOGITS + 5).max() < 1e-10
    assert kl_divergence(LOGITS, LOGITS + 5).min() >= 0


def test_kl_is_the_known_one_of_two_coins_and_has_a_direction():
    fair, bent = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert kl_divergence(fair, bent)[0] == pytest.approx(0.5 * math.log(0.25 / 0.09))
    forward, back = kl_divergence(fair, bent)[0], kl_divergence(bent, fair)[0]
    assert back == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2)) and back != forward


def test_kl_grows_with_the_damage_and_in_float16_too():
    noise = RNG.normal(size=LOGITS.shape)
    means = [kl_divergence(LOGITS, LOGITS + k * noise).mean() for k in (0.01, 0.1, 1)]
    assert 0 < means[0] < means[1] < means[2]
    half = kl_divergence(LOGITS.astype(np.float16), (LOGITS + noise).astype(np.float16)).mean()
    assert half == pytest.approx(means[2], rel=1e-2)


def test_a_token_that_is_ruled_out_adds_nothing():
    padded = np.concatenate([LOGITS, np.full((len(LOGITS), 3), -np.inf)], axis=1)
    noisy = LOGITS + RNG.normal(size=LOGITS.shape)
    wider = np.concatenate([noisy, np.full((len(LOGITS), 3), -np.inf)], axis=1)
    assert kl_divergence(padded, wider) == pytest.approx(kl_divergence(LOGITS, noisy))


def test_agreement_is_told_for_each_token():
    first, second = np.array([[1, 2], [3, 1.0]]), np.array([[0, 9], [1, 3.0]])
    assert top1_agrees(first, second).tolist() == [True, False]


def test_perplexity_of_even_odds_is_the_size_of_the_vocabulary():
    losses = cross_entropy(np.zeros((100, 7)), np.arange(100) % 7)
    found = perplexity([losses[:30], losses[30:]])
    assert found.value == pytest.approx(7) and found.standard_error == pytest.approx(0, abs=1e-9)


def test_cross_entropy_is_that_of_torch():
    import torch

    targets = RNG.integers(0, 40, size=len(LOGITS))
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(LOGITS), torch.tensor(targets), reduction="none"
    )
    assert cross_entropy(LOGITS, targets) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_ratio_sees_what_separate_perplexities_hide():
    """Every token 1 % worse, in texts of very different difficulty."""
    baseline = [RNG.normal(loc=hardness, size=50) for hardness in np.linspace(1, 5, 10)]
    rung = [losses + 0.01 + RNG.normal(scale=1e-3, size=50) for losses in baseline]
    ratio = perplexity_ratio(baseline, rung)
    assert ratio.low > 1 and ratio.value == pytest.approx(math.exp(0.01), rel=1e-3)
    assert perplexity(rung).low < perplexity(baseline).value
    assert perplexity_ratio(baseline, baseline).value == 1


def test_the_percentile_is_over_all_tokens():
    assert percentile_99([np.arange(50), np.arange(50, 101)]) == 99


@pytest.mark.parametrize(
    ("first", "second"),
    [(LOGITS, LOGITS[:-1]), (LOGITS, LOGITS[:, :-1]), (LOGITS[0], LOGITS[0])],
)
def test_logits_of_other_tokens_or_another_vocabulary_are_refused(first, second):
    for measure in (kl_divergence, top1_agrees):
        with pytest.raises(ValueError, match="logits of the same tokens"):
            measure(first, second)
