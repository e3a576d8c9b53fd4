"""The real LMDeploy 0.2.4's kv_qparams writes what our formulas give, bit for bit."""

import pytest
import torch
from quantizing import statistics_of
from transformers import AutoModelForCausalLM, LlamaConfig

from labutils import classic, models
from labutils.kv_offline import kv_qparams, read_qparams

pytestmark = pytest.mark.skipif(bool(classic.why_not()), reason=classic.why_not())

FOUR_KV_HEADS = {
    "vocab_size": 49152,
    "hidden_size": 1024,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


@pytest.fixture(scope="module")
def statistics(passages, reference, tmp_path_factory):
    """A function that makes a model's statistics and the folder that 0.2.4 reads them from."""

    def made(name: str):
        if name == "four K/V heads":
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(LlamaConfig(**FOUR_KV_HEADS))
        elif name == "smollm2-135m":
            model = reference
        else:
            model = AutoModelForCausalLM.from_pretrained(models.get(name), dtype=torch.float32)
        key, value = statistics_of(model, [p[:64] for p in passages[:2]])
        folder = tmp_path_factory.mktemp("statistics")
        torch.save(key, folder / "key_stats.pth")
        torch.save(value, folder / "value_stats.pth")
        return key, value, folder

    return made


CASES = {  # head_dim 64 and 128; 3 K/V heads in SmolLM2
    "smollm2-135m": [(1, False), (3, True)],
    "smollm2-135m-hd128": [(1, False)],
    "four K/V heads": [(2, False), (2, True)],
}


@pytest.mark.parametrize("name", CASES)
def test_every_file_is_the_tools(statistics, tmp_path, name):
    key, value, folder = statistics(name)
    for num_tp, sym in CASES[name]:
        theirs = tmp_path / f"{num_tp}{sym}"
        theirs.mkdir()
        options = ["--num-tp", str(num_tp), *(["--kv-sym"] if sym else [])]
        classic.lmdeploy("lite", "kv_qparams", str(folder), str(theirs), *options)
        assert read_qparams(theirs) == kv_qparams(key, value, num_tp, sym)
        sizes = [file.stat().st_size for file in theirs.iterdir()]
        assert sizes == num_tp * len(key["max"]) * [8 if sym else 16]
