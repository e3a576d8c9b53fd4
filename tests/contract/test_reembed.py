"""The widened twin computes what the original computes and meets the other tools' limits."""

import json
from pathlib import Path

import pytest
import torch
from greedy import chat_ids, choices
from safetensors.torch import load_file, save_file
from texts import PROMPTS
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from labutils import LabError, models
from labutils.reembed import lanes, reembed, widen


@pytest.fixture(scope="module")
def widened(model, tmp_path_factory) -> Path:
    """The course's own model, widened and stored in float32."""
    folder = tmp_path_factory.mktemp("widened")
    reembed(Path(model), folder, 1152, 128, torch.float32)
    return folder


@pytest.fixture(scope="module")
def twin(widened):
    return AutoModelForCausalLM.from_pretrained(widened, dtype=torch.float32)


def test_logits_are_equal(reference, twin, passages):
    with torch.no_grad():
        for passage in passages[:2]:
            ids = torch.tensor([passage])
            torch.testing.assert_close(twin(ids).logits, reference(ids).logits, atol=1e-4, rtol=0)


def test_greedy_tokens_are_equal(twin, tokenizer, reference_tokens):
    for prompt, expected in zip(PROMPTS, reference_tokens, strict=True):
        assert choices(twin, chat_ids(tokenizer, prompt), expected)[:-1] == expected


def test_the_limits_of_the_other_tools_are_met(widened):
    config = json.loads((widened / "config.json").read_text())
    assert config["head_dim"] == 128, "LMDeploy 0.2.4"
    weights = load_file(widened / "model.safetensors")
    linear = [w for name, w in weights.items() if "_proj" in name]
    assert linear
    assert all(w.shape[1] % 128 == 0 for w in linear), "TurboMind's AWQ group size"
    assert config["torch_dtype"] == "float32", "LMDeploy 0.2.4 reads this name"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_every_tensor_kind_on_a_small_random_model(tmp_path, tied, heads):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=16,
        tie_word_embeddings=tied,
    )
    small = LlamaForCausalLM(config).float()
    for parameter in small.parameters():  # norms start at 1: make every tensor count
        torch.nn.init.normal_(parameter, 0.0 if parameter.dim() > 1 else 1.0, 0.3)
    source, target = tmp_path / "small", tmp_path / "wide"
    small.save_pretrained(source)
    target.mkdir()
    reembed(source, target, hidden=160, head_dim=48, dtype=torch.float32)
    wide = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    ids = torch.randint(0, 96, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(wide(ids).logits, small(ids).logits, atol=1e-4, rtol=1e-4)


def test_lanes_keep_every_rotary_frequency():
    old, new = 64, 128
    frequency = torch.arange(old // 2) / old  # exponent of theta, of pair i
    assert torch.equal(lanes(old, new)[: old // 2] / new, frequency)


CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
}


@pytest.mark.parametrize(
    ("changes", "hidden", "head_dim", "sentence"),
    [
        ({"model_type": "qwen2"}, 128, 32, "no Llama model"),
        ({"attention_bias": True}, 128, 32, "without biases"),
        ({}, 32, 32, "hidden 64 and head_dim 16 cannot become 32 and 32"),
        ({}, 128, 24, "cannot become 128 and 24"),
    ],
)
def test_what_cannot_be_widened(tmp_path, changes, hidden, head_dim, sentence):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LabError, match=sentence):
        reembed(tmp_path, tmp_path / "new", hidden, head_dim)


def test_a_missing_weight_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(LabError, match="one model.safetensors"):
        reembed(tmp_path, tmp_path / "new", 128, 32)


def test_an_unknown_tensor():
    with pytest.raises(LabError, match="no tensor model.layers.0.mlp.router.weight"):
        widen("model.layers.0.mlp.router.weight", torch.zeros(2, 2), CONFIG, 128, 32)


def test_the_registry_entry_is_made_whole():
    folder = Path(models.get("smollm2-135m-hd128"))
    models.check_folder(folder, hashes=True)
    config = json.loads((folder / "config.json").read_text())
    assert (config["hidden_size"], config["head_dim"], config["torch_dtype"]) == (
        (1152, 128, "float16")
    )
