"""The engines that the contract tests share: each starts once, on the course's own model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from texts import PROMPTS


@pytest.fixture(scope="session")
def model() -> str:
    """Folder of the course's own model."""
    from labutils import model_path

    return model_path("smollm2-135m")


def _pipeline(model: str, dtype: str) -> Iterator:
    from lmdeploy import pipeline

    from labutils import engine_config

    # 32 prompt tokens a step: the 20 prompts below are prefilled in many unequal pieces.
    config = engine_config(dtype=dtype, session_len=2048, max_batch_size=16)
    with pipeline(model, backend_config=config, log_level="ERROR") as pipe:
        yield pipe


@pytest.fixture(scope="session")
def pipe_float32(model: str) -> Iterator:
    """An engine in float32."""
    yield from _pipeline(model, "float32")


@pytest.fixture(scope="session")
def pipe_bfloat16(model: str) -> Iterator:
    """An engine in bfloat16, the CPU device's default."""
    yield from _pipeline(model, "auto")


@pytest.fixture(scope="session")
def tokenizer(model: str):
    """The model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


@pytest.fixture(scope="session")
def reference(model: str):
    """The same model in Hugging Face Transformers, float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


@pytest.fixture(scope="session")
def reference_tokens(reference, tokenizer) -> list[list[int]]:
    """64 greedy tokens of Transformers' generate for each of PROMPTS, one prompt at a time."""
    return [_greedy(reference, tokenizer, prompt, 64) for prompt in PROMPTS]


def _greedy(model, tokenizer, prompt: str, count: int) -> list[int]:
    chat = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=count, do_sample=False, use_cache=True)
    tokens = out[0, ids.shape[1] :].tolist()
    return tokens[:-1] if tokens[-1] == tokenizer.eos_token_id else tokens


@pytest.fixture(scope="session")
def passages(tokenizer) -> list[list[int]]:
    """5 passages of 512 tokens of English prose from the standard library's own documentation."""
    from pydoc_data.topics import topics

    ids = tokenizer("\n\n".join(topics[key] for key in sorted(topics))).input_ids
    return [ids[start : start + 512] for start in range(0, 5 * 20000, 20000)]


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """Where the environment keeps its programs."""
    import sys

    return Path(sys.executable).parent
