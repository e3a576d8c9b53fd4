"""The real LMDeploy 0.2.4 converts; our re-implementation agrees bit for bit; and the way back."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from safetensors.torch import load_file
from texts import PROMPTS
from tiny import SIZE, make
from transformers import AutoModelForCausalLM, LlamaConfig

from labutils import LabError, classic, engine_config, internlm2, models, workspace
from labutils.conversion import export, rebuild
from labutils.reembed import reembed

pytestmark = pytest.mark.skipif(bool(classic.why_not()), reason=classic.why_not())

ALIKE = {
    "vocab_size": 49153,  # odd, so that two ranks need padding
    "hidden_size": 512,
    "intermediate_size": 640,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@pytest.fixture(scope="module")
def source() -> Path:
    """The course's model, widened and under InternLM2's names."""
    return models.get("smollm2-135m-internlm2")


@pytest.fixture(scope="module")
def widened(model, tmp_path_factory) -> dict[str, torch.Tensor]:
    """The tensors that `source` was made from, under Llama's names."""
    folder = tmp_path_factory.mktemp("widened")
    reembed(Path(model), folder, 1152, 128)
    tensors = load_file(folder / "model.safetensors")
    return {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}


def convert(model: Path, folder: Path, *options: str, name: str = "internlm2-chat-7b") -> Path:
    """Run 0.2.4's convert; the workspace."""
    tokenizer = ("--tokenizer-path", str(model / "tokenizer.json"))
    classic.lmdeploy(
        "convert", name, str(model), *tokenizer, "--dst-path", "ws", *options, cwd=folder
    )
    return folder / "ws"


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory) -> Path:
    return convert(source, tmp_path_factory.mktemp("converted"))


def copy(model: Path, folder: Path) -> Path:
    """A model that a test may change."""
    ignored = shutil.ignore_patterns(models.MANIFEST)
    return Path(shutil.copytree(model, folder, ignore=ignored))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int16), b.view(torch.int16))


def check_every_file(folder: Path, llama: dict[str, torch.Tensor]) -> int:
    """Every weight file equals our export; how many there are."""
    opened = workspace.open_workspace(folder)
    ours = dict(export(llama, opened.shape))
    assert set(ours) == {file.name for file in opened.weights.glob("*.weight")}
    assert [name for name in ours if not same_bits(ours[name], opened.read(name))] == []
    back = rebuild(opened.read, opened.shape)
    assert set(back) == set(llama)
    assert [name for name in back if not same_bits(back[name], llama[name])] == []
    return len(ours)


def test_every_file_of_the_workspace(converted, widened):
    assert check_every_file(converted, widened) == 3 + 30 * 7


def test_every_file_for_two_gpus(source, widened, tmp_path):
    assert check_every_file(convert(source, tmp_path, "--tp", "2"), widened) == 3 + 30 * 12


@pytest.mark.parametrize("tp", ["1", "4"])
def test_a_plain_llama_and_a_vocabulary_that_ranks_do_not_share_evenly(tmp_path, model, tp):
    torch.manual_seed(0)
    llama = AutoModelForCausalLM.from_config(LlamaConfig(**ALIKE), dtype=torch.float16)
    llama.save_pretrained(tmp_path / "llama")
    internlm2.write_old_tokenizer(Path(model), tmp_path / "llama")
    file = tmp_path / "llama" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"torch_dtype": "float16"}))
    folder = convert(tmp_path / "llama", tmp_path, "--tp", tp, name="llama2")
    tensors = {name: t.detach() for name, t in llama.state_dict().items()}
    check_every_file(folder, tensors)


def test_what_was_converted_answers_again_in_todays_engine(source, converted, tmp_path):
    """With the same answers, as every bit of the weights and of config.json is the same."""
    back = models.from_workspace(converted, tmp_path / "back")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (back, source))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not same_bits(ours[name], theirs[name])] == []
    assert (back / "config.json").read_bytes() == (source / "config.json").read_bytes()
    config = engine_config("float32", session_len=1024, max_batch_size=16)
    short = GenerationConfig(max_new_tokens=4, do_sample=False)
    with pipeline(
        str(back), backend_config=config, log_level="ERROR", trust_remote_code=True
    ) as pipe:
        assert all(answer.token_ids for answer in pipe(PROMPTS[:2], gen_config=short))


def test_head_dim_64_is_refused_because_the_tool_would_garble_it(model, tmp_path):
    narrow = copy(Path(model), tmp_path / "narrow")
    internlm2.write_old_tokenizer(Path(model), narrow)
    change_config(narrow, torch_dtype="bfloat16")
    with pytest.raises(LabError, match="head_dim 64, .* every head to have 128 dimensions"):
        convert(narrow, tmp_path, name="llama2")
    assert not (tmp_path / "ws").exists()
    tokenizer = str(narrow / "tokenizer.json")
    arguments = ("convert", "llama2", str(narrow), "--tokenizer-path", tokenizer)
    said = classic.lmdeploy(*arguments, "--dst-path", "ws", cwd=tmp_path, check=False)
    assert "100%" in said, "the tool itself converts it and complains of nothing"
    settings = workspace.read_settings(tmp_path / "ws/triton_models/weights/config.ini")
    assert settings["head_num"] == "4", "576 / 128, rounded down: the model has 9 heads"


@pytest.fixture(scope="module")
def random_model(model, tmp_path_factory) -> Path:
    """A folder with everything a conversion looks at, but random and small."""
    size = SIZE | {"hidden_size": 256, "num_attention_heads": 2, "num_hidden_layers": 1}
    folder = tmp_path_factory.mktemp("random")
    made = make(folder / "llama", LlamaConfig(**size, num_key_value_heads=2), model)
    (folder / "small").mkdir()
    internlm2.write(made, folder / "small", torch.float16)
    return folder / "small"


@pytest.fixture(scope="module")
def random_workspace(random_model, tmp_path_factory) -> Path:
    """What the tool makes of it."""
    return convert(random_model, tmp_path_factory.mktemp("random"))


@pytest.fixture
def small(random_model, tmp_path) -> Path:
    """A copy of the small model, which a test may change."""
    return copy(random_model, tmp_path / "small")


@pytest.fixture
def made(random_workspace, tmp_path) -> Path:
    """A copy of its workspace, which a test may change."""
    return Path(shutil.copytree(random_workspace, tmp_path / "ws", symlinks=True))


def change_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (model / "config.json").write_text(json.dumps(kept))


def test_no_torch_dtype(small, tmp_path):
    change_config(small, torch_dtype=None)
    with pytest.raises(LabError, match='has no "torch_dtype".*add "torch_dtype": "float16"'):
        convert(small, tmp_path)


def test_a_hidden_size_by_which_the_tool_would_count_other_heads(small, tmp_path):
    change_config(small, head_dim=128, num_attention_heads=4)
    with pytest.raises(LabError, match="4 heads and hidden size 256; .* counts its heads as"):
        convert(small, tmp_path)


def test_no_language_model(small, tmp_path):
    change_config(small, num_attention_heads=None)
    with pytest.raises(LabError, match="gives no num_attention_heads: name the folder of"):
        convert(small, tmp_path)


def test_no_tokenizer(small, tmp_path):
    arguments = ("convert", "internlm2-chat-7b", str(small))
    with pytest.raises(LabError, match="no tokenizer file: name one with --tokenizer-path"):
        classic.lmdeploy(*arguments, cwd=tmp_path)
    (small / "tokenizer.json").unlink()
    with pytest.raises(LabError, match=r"tokenizer.json has no tokenizer file: name one"):
        convert(small, tmp_path)
    assert not (tmp_path / "ws").exists() and not (tmp_path / "workspace").exists()


def test_a_destination_that_holds_something_else_is_not_deleted(small, tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "thesis.txt").write_text("years of work")
    with pytest.raises(LabError, match="deletes its destination"):
        convert(small, tmp_path)
    assert (tmp_path / "ws" / "thesis.txt").exists()


def test_no_room(small, tmp_path, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(LabError, match=r"needs .* GB, and .* has 0.0 GB free: make room"):
        convert(small, tmp_path)


def test_what_the_tool_itself_refuses_comes_in_its_own_words(small, tmp_path):
    with pytest.raises(LabError, match="0.2.4 failed: .*'internlm9' is not supported"):
        convert(small, tmp_path, name="internlm9")


def test_a_workspace_cut_short(made, tmp_path):
    file = made / "triton_models/weights/layers.0.attention.wo.0.weight"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2])
    with pytest.raises(LabError, match=r"wo.0.weight has [\d,]+ bytes where .* calls for"):
        models.from_workspace(made, tmp_path / "back")
    file.unlink()
    with pytest.raises(LabError, match="wo.0.weight is missing where"):
        workspace.open_workspace(made)
    assert not (tmp_path / "back").exists()


def test_editing_changes_one_line_only(made):
    ini = made / "triton_models/weights/config.ini"
    before = ini.read_text().splitlines()
    workspace.edit(made, quant_policy=4, use_context_fmha=0)
    after = ini.read_text().splitlines()
    changed = {new for old, new in zip(before, after, strict=True) if old != new}
    assert changed == {"quant_policy = 4", "use_context_fmha = 0"}
    with pytest.raises(LabError, match="no setting quant_polcy: did you mean quant_policy"):
        workspace.edit(made, quant_polcy=4)
    assert ini.read_text().splitlines() == after


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("quant_polcy = 4", "no setting quant_polcy: did you mean quant_policy"),
        ("head_num = nine", "gives no number for head_num"),
        ("weight_type = int4", "holds int4 weights: only fp16"),
        ("[llama", r"has no readable section \[llama\]"),
    ],
)
def test_a_config_that_makes_no_sense(made, line, sentence):
    ini = made / "triton_models/weights/config.ini"
    key = line.partition(" ")[0]
    kept = [old for old in ini.read_text().splitlines() if not old.startswith(key)]
    ini.write_text("\n".join([*kept, line]) + "\n")
    with pytest.raises(LabError, match=sentence):
        workspace.open_workspace(made)


def test_no_workspace(tmp_path):
    with pytest.raises(LabError, match="is no workspace"):
        workspace.open_workspace(tmp_path)
