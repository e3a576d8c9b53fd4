"""LMDeploy's engine on the CPU device with its KV cache in 8 and in 4 bits."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tiny
import torch
from lmdeploy import GenerationConfig, pipeline
from texts import PROMPTS
from transformers import LlamaConfig

from labutils import engine_config
from labutils.cpu import memory
from labutils.kv_budget import (
    KVShape,
    bytes_per_token,
    pytorch_cache_bytes,
    reported,
    tokens_that_fit,
)
from labutils.kv_quality import online, quality

GREEDY = GenerationConfig(max_new_tokens=12, do_sample=False)


@contextmanager
def start(model, dtype: str, bits: int, **options) -> Iterator:
    config = engine_config(dtype, bits, **{"session_len": 2048, "max_batch_size": 16, **options})
    with pipeline(str(model), backend_config=config, log_level="ERROR") as pipe:
        yield pipe


def logits(pipe, ids: list[list[int]]) -> list[torch.Tensor]:
    """Logits of whole prompts, but of each one's last token: LMDeploy's sampler has used those."""
    found = pipe._run(coro=pipe.async_engine.async_get_logits(ids)).result()
    pipe("", gen_config=GREEDY)  # LMDeploy 0.18.0 spoils the answer that follows this call
    return [each[:-1] for each in found]


@pytest.fixture(scope="module", params=[8, 4])
def bits(request) -> int:
    return request.param


@pytest.fixture(scope="module")
def pipe(model, bits) -> Iterator:
    """The course's model in float32, so that only the cache rounds."""
    with start(model, "float32", bits) as started:
        yield started


def test_the_engine_loses_what_the_formulas_lose(pipe, bits, reference, passages):
    """Here equal to all digits; elsewhere as near as 30 layers of rounding allow. A prompt that
    attended to K and V before quantization would lose nothing: 0.1 less in 4 bits."""
    text = passages[:1]
    lost = quality(reference, text, {"online": online(bits, torch.float32)})["online"]
    (ours,) = pipe.get_ppl(text)
    assert ours == pytest.approx(lost.cross_entropy, abs={8: 5e-3, 4: 5e-2}[bits])


def test_the_cache_holds_the_tokens_that_were_predicted(pipe, bits, model, tokenizer):
    shape, said = KVShape.of(model), reported(pipe)
    token = bytes_per_token(shape, bits, itemsize=4)
    assert said.bytes_per_token == token
    planned = pytorch_cache_bytes(memory.plannable_bytes(), len(tokenizer), 16)
    assert said.tokens == pytest.approx(tokens_that_fit(planned, token), rel=0.02)


def test_the_first_token_is_chosen_as_in_float32(pipe, bits, reference, tokenizer):
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:8]]
    texts = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in chats
    ]
    ids = [tokenizer(text).input_ids for text in texts]
    apart = []
    for prompt, ours in zip(ids, logits(pipe, [[*prompt, 0] for prompt in ids]), strict=True):
        with torch.no_grad():
            exact = reference(torch.tensor([prompt])).logits[0, -1]
        apart.append(((ours[-1] - exact).norm() / exact.norm()).item())
    least, most = {8: (1e-3, 1e-2), 4: (2e-2, 0.2)}[bits]
    assert least < statistics.median(apart) < most


def test_cross_entropy_in_bfloat16(pipe_bfloat16, model, passages):
    """5 texts of 512 tokens: 8 bits cost next to nothing, 4 a good deal on so small a model."""
    exact = statistics.fmean(pipe_bfloat16.get_ppl(passages))
    cost, answers = {}, {}
    for bits in (8, 4):
        with start(model, "auto", bits) as pipe:
            cost[bits] = statistics.fmean(pipe.get_ppl(passages)) - exact
            answers[bits] = pipe(PROMPTS[2], gen_config=GREEDY).text
    assert abs(cost[8]) < 0.01
    assert "Paris" in answers[8]
    assert 0.05 < cost[4] < 0.3


# --- a model so shallow that rounding errors do not spread -------------------------------------


@pytest.fixture(scope="module")
def shallow(model, tmp_path_factory):
    """Two layers of random weights.

    Where two ways of computing K differ by float32's rounding, a value now and then falls on the
    other side of a step, and every layer multiplies such differences: 30 layers deep nothing but
    the size of the quantization error is left to compare.
    """
    config = LlamaConfig(**{**tiny.SIZE, "num_hidden_layers": 2}, num_key_value_heads=2)
    folder = tmp_path_factory.mktemp("shallow") / "model"
    return tiny.make(folder, config, model)


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return torch.randint(3, 49000, (200,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.fixture(scope="module")
def exact(shallow, ids) -> torch.Tensor:
    """Logits with nothing quantized."""
    with start(shallow, "float32", 0) as pipe:
        return logits(pipe, [ids])[0]


@pytest.fixture(scope="module")
def whole(shallow, bits) -> Iterator:
    """An engine that takes a prompt in one step."""
    with start(shallow, "float32", bits, logprobs_mode="raw_logprobs") as pipe:
        yield pipe


@pytest.fixture(scope="module")
def in_pieces(shallow, bits) -> Iterator:
    """An engine that takes a prompt in steps of 64 tokens."""
    with start(shallow, "float32", bits, max_prefill_token_num=64) as pipe:
        yield pipe


def ask(pipe, texts: list[str]) -> list:
    return [pipe(text, gen_config=GREEDY, do_preprocess=False) for text in texts]


def test_a_prompt_means_the_same_whole_and_in_pieces(whole, in_pieces, exact, ids):
    (one,), (some,) = logits(whole, [ids]), logits(in_pieces, [ids])
    inside = [i for i in range(len(some)) if (i + 1) % 64]  # but the last token of each piece
    torch.testing.assert_close(some[inside], one[inside], atol=1e-3, rtol=0)
    assert (one - exact).abs().mean() > 1e-2, "the cache is quantized"


def test_a_prompt_means_the_same_token_by_token(shallow, whole, bits, ids):
    with start(shallow, "float32", bits, max_prefill_token_num=1) as pipe:
        (single,) = logits(pipe, [ids])
    single = single * GenerationConfig().temperature  # the sampler has divided by it
    torch.testing.assert_close(single, logits(whole, [ids])[0], atol=1e-3, rtol=0)


def test_decoding_sees_what_a_prompt_sees(whole, ids, tokenizer):
    text = tokenizer.decode(ids[:60])
    prompt = tokenizer(text).input_ids
    wanted = GenerationConfig(max_new_tokens=20, do_sample=False, ignore_eos=True, logprobs=5)
    answer = whole(text, gen_config=wanted, do_preprocess=False)
    (rows,) = logits(whole, [[*prompt, *answer.token_ids, 0]])
    assert len(answer.logprobs) == 20
    for row, said in zip(rows[len(prompt) - 1 :].log_softmax(-1), answer.logprobs, strict=False):
        assert said == pytest.approx({token: row[token].item() for token in said}, abs=1e-3)


def test_prefix_caching_and_chunks_change_no_token(shallow, whole, in_pieces, bits, ids, tokenizer):
    texts = [tokenizer.decode([*ids[:150], last]) for last in (100, 200)]
    expected = [answer.token_ids for answer in ask(whole, texts)]
    assert [answer.token_ids for answer in ask(in_pieces, texts)] == expected
    with start(shallow, "float32", bits, enable_prefix_caching=True) as pipe:
        answers = ask(pipe, texts)
    assert [answer.token_ids for answer in answers] == expected
    assert answers[1].cached_tokens >= 128


def test_a_batch_of_unequal_lengths_equals_single_runs(whole, ids, tokenizer):
    texts = [tokenizer.decode(ids[:length]) for length in (3, 130, 64, 1, 17, 65, 40, 199)]
    alone = [answer.token_ids for answer in ask(whole, texts)]
    together = whole(texts, gen_config=GREEDY, do_preprocess=False)
    assert [answer.token_ids for answer in together] == alone
