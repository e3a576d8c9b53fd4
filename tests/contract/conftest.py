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
def reference_tokens(reference, tokenizer, pipe_float32) -> list[list[int]]:
    """64 greedy tokens of Transformers for each of PROMPTS, one prompt at a time.

    LMDeploy guesses; where it is wrong, Transformers decodes by itself.
    """
    import greedy
    from lmdeploy import GenerationConfig

    wanted = GenerationConfig(max_new_tokens=64, do_sample=False)
    guesses = [reply.token_ids for reply in pipe_float32(PROMPTS, gen_config=wanted)]
    return [
        greedy.answer(reference, tokenizer, prompt, 64, guess)
        for prompt, guess in zip(PROMPTS, guesses, strict=True)
    ]


@pytest.fixture(scope="session")
def passages(tokenizer) -> list[list[int]]:
    """5 passages of 512 tokens of English prose from the standard library's own documentation."""
    from labutils import corpus

    ids = tokenizer("\n\n".join(corpus.python_topics())).input_ids
    return [ids[start : start + 512] for start in range(0, 5 * 20000, 20000)]


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """Where the environment keeps its programs."""
    import sys

    return Path(sys.executable).parent


# --- 4-bit models, each made once by the real tool -----------------------------------------------


@pytest.fixture(scope="session")
def calibration_text(tmp_path_factory) -> Path:
    """A folder in which LMDeploy finds Python's topics in place of a data set."""
    from labutils import corpus
    from labutils.hub import hub_folder

    return hub_folder(tmp_path_factory.mktemp("text") / "hub", corpus.python_topics())


@pytest.fixture(scope="session")
def w4a16(model: str, tmp_path_factory, calibration_text) -> Path:
    """The course's own model in 4 bits, calibrated, group size 64."""
    from quantizing import auto_awq

    folder = tmp_path_factory.mktemp("w4a16") / "calibrated"
    options = {"calib_samples": 2, "calib_seqlen": 128}
    return auto_awq(Path(model), folder, 64, calibration_text, **options)


@pytest.fixture(scope="session")
def w4a16_dequantized(w4a16: Path):
    """The same 4-bit weights in Hugging Face Transformers, float32."""
    from labutils import awq

    return awq.open_folder(w4a16).load_dequantized()


@pytest.fixture(scope="session")
def short_model(model: str, tmp_path_factory) -> Path:
    """The course's own model, its first 3 layers."""
    from quantizing import shorten

    return shorten(Path(model), tmp_path_factory.mktemp("short") / "model", 3)


@pytest.fixture(scope="session")
def w4a16_searched(short_model: Path, tmp_path_factory, calibration_text) -> Path:
    """Its first 3 layers in 4 bits, with searched scales, group size 32."""
    from quantizing import auto_awq

    folder = tmp_path_factory.mktemp("w4a16") / "searched"
    options = {"search_scale": True, "calib_samples": 2, "calib_seqlen": 64, "batch_size": 2}
    return auto_awq(short_model, folder, 32, calibration_text, **options)


@pytest.fixture(scope="session")
def short_model_128(tmp_path_factory) -> Path:
    """The widened model, its first 2 layers: full of zeros, float16."""
    from quantizing import shorten

    from labutils import models

    widened = models.get("smollm2-135m-hd128")
    return shorten(widened, tmp_path_factory.mktemp("short128") / "model", 2)


@pytest.fixture(scope="session")
def w4a16_128(short_model_128: Path, tmp_path_factory, calibration_text) -> Path:
    """Its first 2 layers in 4 bits, without data, group size 128."""
    from quantizing import auto_awq

    folder = tmp_path_factory.mktemp("w4a16") / "padded"
    return auto_awq(short_model_128, folder, 128, calibration_text, calib_samples=0)
