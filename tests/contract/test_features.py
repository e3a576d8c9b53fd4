"""What LMDeploy promises of its engine holds on the CPU device."""

import math
from collections.abc import Callable
from contextlib import contextmanager

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from texts import PROMPTS
from waiting import wait_for

from labutils import engine_config

GREEDY = GenerationConfig(max_new_tokens=16, do_sample=False)
LONG = "The river rises in spring and falls in autumn. " * 30


@pytest.fixture
def engine(model) -> Callable:
    """Start a float32 engine with further options."""

    @contextmanager
    def start(**options):
        config = engine_config("float32", session_len=2048, max_batch_size=8, **options)
        with pipeline(model, backend_config=config, log_level="ERROR") as pipe:
            yield pipe

    return start


def free_blocks(pipe) -> int:
    return pipe.async_engine.engine.scheduler.block_manager.get_num_free_gpu_blocks()


def test_prefix_caching_hits_and_changes_no_token(engine, pipe_float32):
    questions = [LONG + question for question in ("Why?", "When?", "Where?")]
    expected = [pipe_float32(q, gen_config=GREEDY).token_ids for q in questions]
    with engine(enable_prefix_caching=True) as pipe:
        answers = [pipe(q, gen_config=GREEDY) for q in questions]
    assert [a.token_ids for a in answers] == expected
    hits = [a.cached_tokens for a in answers]
    assert hits[0] == 0
    assert min(hits[1:]) > 0.9 * answers[0].input_token_len - 64, "all but the last block is reused"


def test_a_later_turn_reuses_the_earlier_ones(engine):
    with engine(enable_prefix_caching=True) as pipe:
        first = [{"role": "user", "content": LONG}]
        said = pipe(first, gen_config=GREEDY)
        told = [{"role": "assistant", "content": said.text}, {"role": "user", "content": "Why?"}]
        again = pipe([*first, *told], gen_config=GREEDY)
    assert again.cached_tokens >= (said.input_token_len // 64) * 64 - 64


@pytest.mark.parametrize("chunk", [64, 100, 256])
def test_chunked_prefill_changes_no_token(engine, pipe_float32, chunk):
    prompts = [LONG + "Why?", PROMPTS[4], LONG + "When?"]
    expected = [pipe_float32(p, gen_config=GREEDY).token_ids for p in prompts]
    with engine(max_prefill_token_num=chunk) as pipe:
        assert [a.token_ids for a in pipe(prompts, gen_config=GREEDY)] == expected


def test_logprobs_equal_log_softmax(engine, reference, tokenizer):
    with engine(logprobs_mode="raw_logprobs") as pipe:
        wanted = GenerationConfig(max_new_tokens=8, do_sample=False, logprobs=5)
        answer = pipe(PROMPTS[3], gen_config=wanted)
    chat = [{"role": "user", "content": PROMPTS[3]}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text).input_ids
    with torch.no_grad():
        logits = reference(torch.tensor([prompt + answer.token_ids])).logits[0, len(prompt) - 1 :]
    for row, token, said in zip(logits, answer.token_ids, answer.logprobs, strict=False):
        expected = row.log_softmax(-1)
        assert token in said
        assert said == pytest.approx({t: expected[t].item() for t in said}, abs=1e-3)
        assert max(said.values()) == pytest.approx(expected.max().item(), abs=1e-3)


def test_stop_words_end_an_answer_before_them(pipe_float32):
    whole = pipe_float32(PROMPTS[5], gen_config=GREEDY)
    stop = whole.token_ids[6]
    first = whole.token_ids.index(stop)
    config = GenerationConfig(max_new_tokens=16, do_sample=False, stop_token_ids=[stop])
    stopped = pipe_float32(PROMPTS[5], gen_config=config)
    assert stopped.token_ids == whole.token_ids[:first]
    assert stopped.finish_reason == "stop"


def test_bad_words_never_appear(pipe_float32):
    whole = pipe_float32(PROMPTS[5], gen_config=GREEDY)
    bad = whole.token_ids[:3]
    config = GenerationConfig(max_new_tokens=16, do_sample=False, bad_token_ids=bad)
    assert not set(bad) & set(pipe_float32(PROMPTS[5], gen_config=config).token_ids)


def test_repetition_penalty_divides_the_logits_of_generated_tokens(
    pipe_float32, reference, tokenizer
):
    """The formula of CTRL (arXiv 1909.05858), as LMDeploy 0.18.0 applies it: to the answer's tokens
    but the latest, which its scheduler does not know yet, and not with do_sample=False. (The
    penalty of Transformers covers prompt and answer.)"""
    prompt = "one two one two one two one"
    ids = tokenizer(prompt).input_ids
    answer: list[int] = []
    with torch.no_grad():
        for _ in range(16):
            logits = reference(torch.tensor([ids + answer])).logits[0, -1]
            for token in set(answer[:-1]):
                logits[token] = logits[token] / 1.3 if logits[token] > 0 else logits[token] * 1.3
            answer.append(logits.argmax().item())
    config = GenerationConfig(
        max_new_tokens=16, do_sample=True, top_k=1, repetition_penalty=1.3, ignore_eos=True
    )
    ours = pipe_float32(prompt, gen_config=config, do_preprocess=False).token_ids
    assert tokenizer.eos_token_id not in answer, "choose a prompt that goes on"
    assert ours == answer


def test_perplexity_is_the_exponential_of_get_ppl(pipe_float32, reference, passages):
    """LMDeploy's get_ppl returns the mean cross-entropy in nats, not its exponential."""
    with torch.no_grad():
        loss = reference(torch.tensor([passages[0]]), labels=torch.tensor([passages[0]])).loss
    (ppl,) = pipe_float32.get_ppl(passages[0])
    assert math.exp(ppl) == pytest.approx(math.exp(loss), rel=1e-3)


@pytest.mark.parametrize("chunk", [8192, 200])
def test_logits_of_a_whole_prompt(engine, reference, passages, chunk):
    """`output_logits='all'`, through the one call that LMDeploy's PyTorch engine offers for it: its
    pipeline drops the field on every device. The last row of each piece of a prefill is what its
    sampler left behind, on every device too: divided by the default temperature."""
    ids = passages[0]
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0]
    ends = [*range(chunk, len(ids), chunk), len(ids)]
    for end in ends:
        expected[end - 1] /= GenerationConfig().temperature
    with engine(max_prefill_token_num=chunk) as pipe:
        (ours,) = pipe._run(coro=pipe.async_engine.async_get_logits([ids])).result()
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=0)


def test_an_aborted_request_returns_its_blocks(pipe_float32):
    before = free_blocks(pipe_float32)
    session = pipe_float32.session()
    endless = GenerationConfig(max_new_tokens=1500, ignore_eos=True)
    stream = pipe_float32.stream_infer(LONG, sessions=session, gen_config=endless)
    for _ in range(3):
        next(stream)
    assert free_blocks(pipe_float32) < before
    session.abort()
    pieces = list(stream)
    assert pieces[-1].finish_reason == "abort"
    assert wait_for(lambda: free_blocks(pipe_float32) == before)


def test_finished_requests_return_their_blocks(pipe_float32):
    before = free_blocks(pipe_float32)
    pipe_float32(PROMPTS, gen_config=GenerationConfig(max_new_tokens=2))
    assert wait_for(lambda: free_blocks(pipe_float32) == before)


@pytest.mark.parametrize("count", [1, 2])
def test_few_new_tokens(pipe_float32, count):
    config = GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False)
    answer = pipe_float32(PROMPTS[0], gen_config=config)
    assert (answer.generate_token_len, answer.finish_reason) == (count, "length")


def test_no_new_token_is_refused_by_lmdeploy_and_the_engine_goes_on(pipe_float32):
    refused = pipe_float32(PROMPTS[0], gen_config=GenerationConfig(max_new_tokens=0))
    assert refused.finish_reason == "error"
    assert pipe_float32(PROMPTS[0], gen_config=GREEDY).token_ids


def test_an_answer_fills_the_session_and_no_more(engine):
    with engine() as pipe:
        config = GenerationConfig(max_new_tokens=4000, ignore_eos=True, do_sample=False)
        answer = pipe(LONG * 6, gen_config=config)
    assert answer.finish_reason == "length"
    assert 2040 <= answer.input_token_len + answer.generate_token_len <= 2048
