"""The CPU device computes what the model computes, whatever the batch around it."""

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from texts import PROMPTS

from labutils import engine_config
from labutils.cpu import recording

GREEDY = GenerationConfig(max_new_tokens=64, do_sample=False)


def test_greedy_tokens_equal_transformers_one_at_a_time(pipe_float32, reference_tokens):
    answers = [pipe_float32(prompt, gen_config=GREEDY).token_ids for prompt in PROMPTS]
    assert answers == reference_tokens


def test_greedy_tokens_equal_transformers_batched(pipe_float32, reference_tokens):
    answers = [answer.token_ids for answer in pipe_float32(PROMPTS, gen_config=GREEDY)]
    assert answers == reference_tokens


def test_greedy_tokens_equal_transformers_by_pytorch_alone(model, reference_tokens, monkeypatch):
    monkeypatch.setattr(recording, "ENABLED", False)
    config = engine_config("float32", session_len=2048, max_batch_size=16)
    with pipeline(model, backend_config=config, log_level="ERROR") as pipe:
        answers = [answer.token_ids for answer in pipe(PROMPTS, gen_config=GREEDY)]
    assert answers == reference_tokens


@pytest.mark.parametrize(("engine", "tolerance"), [("float32", 1e-3), ("bfloat16", 1e-2)])
def test_cross_entropy_equals_transformers(request, reference, passages, engine, tolerance):
    pipe = request.getfixturevalue(f"pipe_{engine}")
    with torch.no_grad():
        expected = [reference(torch.tensor([p]), labels=torch.tensor([p])).loss for p in passages]
    assert pipe.get_ppl(passages) == pytest.approx([e.item() for e in expected], abs=tolerance)


def test_streaming_equals_not_streaming(pipe_float32):
    whole = pipe_float32(PROMPTS[4], gen_config=GREEDY)
    pieces = list(pipe_float32.stream_infer(PROMPTS[4], gen_config=GREEDY))
    assert len(pieces) > 10
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [t for piece in pieces for t in piece.token_ids] == whole.token_ids


def test_requests_of_unequal_length_all_finish(pipe_float32):
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 55, 7, 9, 11, 40, 1, 60, 33, 2, 18, 25, 4]
    wanted = [GenerationConfig(max_new_tokens=n, do_sample=False, ignore_eos=True) for n in lengths]
    answers = pipe_float32(PROMPTS, gen_config=wanted)
    assert [answer.generate_token_len for answer in answers] == lengths
    assert {answer.finish_reason for answer in answers} == {"length"}


def test_a_prompt_beyond_the_session_is_refused_and_the_engine_goes_on(
    pipe_float32, reference_tokens
):
    refused = pipe_float32("word " * 3000, gen_config=GREEDY)
    assert refused.finish_reason in ("error", "length")
    assert refused.generate_token_len == 0
    assert pipe_float32(PROMPTS[2], gen_config=GREEDY).token_ids == reference_tokens[2]


def test_a_seed_repeats_its_answer_in_any_batch(pipe_float32):
    def sampled(seed: int) -> GenerationConfig:
        return GenerationConfig(max_new_tokens=24, do_sample=True, top_k=40, random_seed=seed)

    alone = pipe_float32(PROMPTS[9], gen_config=sampled(7)).token_ids
    batch = pipe_float32(
        [PROMPTS[3], PROMPTS[9], PROMPTS[9]], gen_config=[sampled(1), sampled(7), sampled(8)]
    )
    assert batch[1].token_ids == alone
    assert batch[2].token_ids != alone


def test_multi_turn_chat_remembers(pipe_float32):
    told = [{"role": "user", "content": "My cat is called Biscuit."}]
    first = pipe_float32(told, gen_config=GREEDY)
    history = [
        *told,
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "What is my cat called?"},
    ]
    assert "Biscuit" in pipe_float32(history, gen_config=GREEDY).text
