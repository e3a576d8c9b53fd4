"""Folders of random weights run in the real engine and decode as many tokens as asked."""

import json
import math
from pathlib import Path

import pytest
from lmdeploy import GenerationConfig, pipeline
from tiny import RANDOM

from labutils import engine_config
from labutils.random_model import make_random


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(RANDOM))
    return folder


@pytest.mark.parametrize("quantized", [False, True])
def test_the_engine_answers(tiny, quantized):
    folder = make_random(str(tiny), tiny.parent / f"made-{quantized}", quantized=quantized)
    config = engine_config("float32", session_len=256, max_batch_size=2)
    wanted = GenerationConfig(max_new_tokens=8, ignore_eos=True)
    with pipeline(str(folder), backend_config=config, log_level="ERROR") as pipe:
        answer = pipe("Hello", gen_config=wanted)
        loss = pipe.get_ppl(list(range(100, 164)))[0]
    assert len(answer.token_ids) == 8
    assert max(answer.token_ids) < 49152, "padding of the vocabulary is never chosen"
    assert loss == pytest.approx(math.log(RANDOM["vocab_size"]), abs=0.5), "it has learnt nothing"
