"""Random weights in the shape of a real model: the right bytes, labelled, whole or refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import RANDOM

from labutils import LabError, awq
from labutils.models import check_folder
from labutils.random_model import make_random, shape_of, size
from labutils.registry import INTERNLM2_7B

KNOWN = 49152
"""Tokens of the course's own tokenizer."""


def like(folder: Path, **changes) -> str:
    """A folder with a config.json of RANDOM's shape, changed; None leaves an entry out."""
    folder.mkdir(exist_ok=True)
    kept = {key: value for key, value in (RANDOM | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return str(folder)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return like(tmp_path / "tiny")


@pytest.mark.parametrize("quantized", [False, True])
def test_a_folder_is_whole_sharded_and_as_large_as_predicted(tiny, tmp_path, quantized):
    made = make_random(tiny, tmp_path / "made", quantized=quantized)
    check_folder(made, hashes=True)
    files = sorted(made.glob("*.safetensors"))
    assert [file.name[:11] for file in files] == ["model-00001", "model-00002", "model-00003"]
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert sum(tensor.nbytes for tensor in tensors.values()) == size(RANDOM, quantized)
    index = json.loads((made / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == size(RANDOM, quantized)
    assert set(index["weight_map"]) == set(tensors)


def test_the_7b_shape_has_the_published_bytes():
    assert shape_of("internlm2-chat-7b") == INTERNLM2_7B
    assert round(size(INTERNLM2_7B, False) / 2**30, 2) == 14.41
    assert round(size(INTERNLM2_7B, True) / 2**30, 2) == 4.79


def test_it_says_that_it_talks_nonsense(tiny, tmp_path):
    made = make_random(tiny, tmp_path / "made")
    for name in ("README.md", "config.json"):
        assert "for memory and speed only" in (made / name).read_text()


def test_weights_have_the_asked_deviation_in_both_forms(tiny, tmp_path):
    plain = make_random(tiny, tmp_path / "plain")
    four = awq.open_folder(make_random(tiny, tmp_path / "four", quantized=True))
    for name, expected in (("mlp.gate_proj", 0.02), ("mlp.down_proj", 0.02 / 2)):
        name = f"model.layers.1.{name}"
        with safe_open(plain / "model-00002-of-00003.safetensors", "pt") as opened:
            halves = opened.get_tensor(f"{name}.weight").float()
        for weight in (halves, four.weight(name).dequantize(torch.float32)):
            assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_padding_of_the_vocabulary_is_never_the_likeliest(tiny, tmp_path):
    made = make_random(tiny, tmp_path / "made")
    head = load_file(made / "model-00003-of-00003.safetensors")["lm_head.weight"]
    assert not head[KNOWN:].any() and head[:KNOWN].any(dim=1).all()


def test_a_seed_gives_the_same_weights_and_another_others(tiny, tmp_path):
    first, again, other = (
        load_file(
            make_random(tiny, tmp_path / f"{n}", seed=seed) / "model-00001-of-00003.safetensors"
        )
        for n, seed in enumerate((1, 1, 2))
    )
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])


@pytest.mark.parametrize(
    ("changes", "quantized", "message"),
    [
        ({"hidden_size": None}, False, "gives no hidden_size"),
        ({"num_attention_heads": 3}, False, "3 heads .* cannot share a hidden size of 256"),
        ({"intermediate_size": 320}, True, "groups of 128, which do not divide 320"),
        ({"vocab_size": 1000}, False, "has 1000 tokens, the course's tokenizer has 49152"),
        ({"num_hidden_layers": 10**8}, False, r"needs [\d.]+ GB"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, changes, quantized, message):
    source = like(tmp_path / "tiny", **changes)
    with pytest.raises(LabError, match=message):
        make_random(source, tmp_path / "made", quantized=quantized)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_unknown_names_and_existing_folders_are_refused(tiny, tmp_path):
    with pytest.raises(
        LabError, match="No shape is known for 'smollm2-135m': choose one of intern"
    ):
        make_random("smollm2-135m", tmp_path / "made")
    with pytest.raises(LabError, match="exists already"):
        make_random(tiny, Path(tiny))
