"""The course's own model gets neither nearly all nor nearly none of the English items right."""

from collections import defaultdict

import pytest

from labutils.ladder.items import is_right, prompt, read
from labutils.paths import DATA


@pytest.mark.soak
def test_every_english_category_can_show_a_loss_and_a_gain(pipe_bfloat16):
    from lmdeploy import GenerationConfig

    items = read(DATA / "eval" / "english.jsonl")
    greedy = GenerationConfig(max_new_tokens=32, do_sample=False)
    replies = pipe_bfloat16([prompt(item) for item in items], gen_config=greedy, use_tqdm=False)
    verdicts = defaultdict(list)
    for item, reply in zip(items, replies, strict=True):
        verdicts[item.category].append(is_right(item, reply.text))
    for category, found in verdicts.items():
        assert 0.3 < sum(found) / len(found) < 0.9, category
