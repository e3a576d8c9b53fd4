"""The ladder's figures against other tools, and against what was planted: on 3 of the
model's layers, and on all of them in `make soak`."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from labutils import awq, corpus
from labutils.ladder import data, distributions, results
from labutils.ladder import task as tasks
from labutils.ladder.plan import Plan
from labutils.ladder.records import write_record
from labutils.ladder.runner import run
from labutils.ladder.summary import Summary, summarise

EXACT = Plan(
    dtype="float32",
    per_category=8,
    new_tokens=12,
    passages=4,
    passage_tokens=160,
    concurrency=(1, 16),
    prompt_tokens=16,
    decoded_tokens=4,
    repeats=2,
)
"""In float32, so that nothing but what is tested rounds."""


def measure(out: Path, rungs: str, plan: Plan = EXACT, **options) -> Summary:
    return run(out=out, rungs=rungs, plan=plan, **options)


@pytest.fixture(
    scope="module",
    params=[
        ("short_model", "w4a16_searched"),
        pytest.param(("model", "w4a16"), marks=pytest.mark.soak),
    ],
    ids=["3 layers", "30 layers"],
)
def folders(request) -> tuple[Path, Path]:
    """A model, and the same in 4 bits."""
    return tuple(Path(request.getfixturevalue(name)) for name in request.param)


@pytest.fixture(scope="module")
def out(folders, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("truth") / "run"


@pytest.fixture(scope="module")
def measured(out, folders) -> Summary:
    """The baseline and its weights in 4 bits."""
    model, awq = folders
    return measure(out, "w4a16", model=str(model), awq=awq)


@pytest.fixture(scope="module")
def transformers_model(folders):
    """The baseline in Transformers, float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folders[0], dtype=torch.float32)


@pytest.fixture(scope="module")
def passages(tokenizer) -> list[list[int]]:
    texts = [document.text for document in corpus.prose("en")]
    return data.tokens(texts, tokenizer, EXACT.passages, EXACT.passage_tokens)


def logits_of(model, passages: list[list[int]]) -> list[np.ndarray]:
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, :-1].numpy() for ids in passages]


def test_perplexity_is_that_of_transformers(measured, transformers_model, passages):
    with torch.no_grad():
        ids = [torch.tensor([passage]) for passage in passages]
        losses = [transformers_model(each, labels=each).loss.item() for each in ids]
    found = measured.entry("baseline").quality.perplexity
    assert found.value == pytest.approx(np.exp(np.mean(losses)), rel=1e-3)
    assert found.low < found.value < found.high


def test_divergence_of_4_bit_weights_is_that_of_transformers(
    measured, transformers_model, folders, passages
):
    exact = logits_of(transformers_model, passages)
    ours = logits_of(awq.open_folder(folders[1]).load_dequantized(), passages)
    pairs = list(zip(exact, ours, strict=True))
    divergences = [distributions.kl_divergence(*pair) for pair in pairs]
    found = measured.entry("w4a16").quality
    assert found.kl_mean.value == pytest.approx(np.concatenate(divergences).mean(), rel=0.02)
    assert found.kl_p99.value == pytest.approx(distributions.percentile_99(divergences), rel=0.02)
    agreement = np.concatenate([distributions.top1_agrees(*pair) for pair in pairs]).mean()
    assert found.top1_agreement.value == pytest.approx(agreement, abs=0.01)


def test_memory_is_what_was_predicted(measured):
    for entry in measured.rungs:
        for name in ("weights", "kv_per_token", "context"):
            ours, said = getattr(entry.predicted, name), getattr(entry.memory, name)
            assert (ours.origin, said.origin) == ("predicted", "measured")
            assert ours.value == pytest.approx(said.value, rel=0.02), (entry.name, name)


def test_speed_has_a_spread_and_a_limit(measured):
    for entry in measured.rungs:
        assert [speed.concurrency for speed in entry.speed] == [1, 16]
        for speed in entry.speed:
            assert 0 < speed.tpot.low <= speed.tpot.value <= speed.tpot.high
            assert 0 < speed.limit_share.value < 1
        alone, together = entry.speed
        assert together.throughput.value > alone.throughput.value


def test_an_identical_rung_is_no_distance_apart(measured, out):
    """The baseline measured again, under another rung's name."""
    told = tasks.read(out / "rungs" / "baseline.task.json")
    file = out / "rungs" / "same.task.json"
    write_record(file, replace(told, name="kv-int8", keep=False, against=True))
    command = [sys.executable, "-m", "labutils.ladder.worker", str(file), "2"]
    subprocess.run(command, check=True)
    same, baseline, other = (
        results.read(out / "rungs" / f"{name}.json") for name in ("kv-int8", "baseline", "w4a16")
    )
    (out / "rungs" / "kv-int8.json").unlink()
    quality = summarise([baseline, same]).entry("kv-int8").quality
    assert (quality.kl_mean.value, quality.kl_p99.value) == (0, 0)
    assert (quality.top1_agreement.value, quality.perplexity_ratio.value) == (1, 1)
    assert quality.flips == ()
    assert same.quality.answers == baseline.quality.answers
    assert other.quality.answers != baseline.quality.answers, "quantization does change replies"


def test_damaged_weights_are_caught(model, w4a16, tmp_path):
    """The scales of half of the layers' outputs, a quarter as large."""
    damaged = Path(shutil.copytree(w4a16, tmp_path / "damaged"))
    tensors = load_file(damaged / "model.safetensors")
    for layer in range(0, 30, 2):
        tensors[f"model.layers.{layer}.mlp.down_proj.scales"] /= 4
        tensors[f"model.layers.{layer}.self_attn.o_proj.scales"] /= 4
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    plan = replace(EXACT, dtype="auto", per_category=12, new_tokens=24, concurrency=(16,))
    found = measure(tmp_path / "run", "w4a16", plan, awq=damaged, model=model)
    bad = found.entry("w4a16").quality
    assert bad.p_value < 0.01
    assert bad.accuracy_change.high < 0
    assert len(bad.flips) >= bad.counts().lost > 5 * bad.counts().gained
    verdict = {each.rung: each.judgement for each in found.decision.verdicts}["w4a16"]
    assert (verdict, found.decision.outcome) == ("worse", "go back")
