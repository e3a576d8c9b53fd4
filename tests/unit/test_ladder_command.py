"""`lab ladder`: what is wrong is said in one sentence before anything is written."""

import json
from pathlib import Path

import pytest
from ladder_results import summary

from labutils import LabError, cli
from labutils.awq import largest_group_size
from labutils.ladder import notebook, weights
from labutils.ladder.decision import Thresholds
from labutils.ladder.summary import read, write

ITEM = {
    "id": "a",
    "category": "mine",
    "language": "en",
    "question": "Name a colour.",
    "checker": "contains",
    "answers": ["red"],
}


def lab(capsys, *words: str) -> tuple[int, str, list[str]]:
    code = cli.main(["ladder", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def lines(*items: dict) -> bytes:
    return "\n".join(json.dumps(item) for item in items).encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no items"),
        (lines(ITEM, ITEM), "my.jsonl, line 2: the id 'a' is taken already"),
        (lines(ITEM | {"checker": "magic"}), "the checker 'magic' is unknown"),
        ('{"id": "é"}'.encode("latin-1"), "my.jsonl, line 1: this is not UTF-8"),
        (b"[]", "this is no JSON object"),
    ],
)
def test_bad_items(tmp_path, capsys, content, sentence):
    mine, out = tmp_path / "my.jsonl", tmp_path / "run"
    mine.write_bytes(content)
    code, _, said = lab(capsys, "run", "--data", mine, "--out", out)
    assert (code, len(said)) == (2, 1)
    assert sentence in said[0]
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "nothing.jsonl"], "There is no file nothing.jsonl"),
        (["--rungs", "kv-int2"], "There is no rung 'kv-int2'"),
        (["--rungs", ","], "--rungs names no rung"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--awq", "nowhere"], "There is no model folder"),
        (["--loss", "300"], "The threshold accuracy_loss is 3.0"),
        (["--confidence", "10"], "The threshold confidence is 0.1"),
    ],
)
def test_bad_options(tmp_path, capsys, words, sentence):
    code, _, said = lab(capsys, "run", "--out", tmp_path / "run", *words)
    assert (code, len(said)) == (2, 1)
    assert sentence in said[0]
    assert not (tmp_path / "run").exists()


def test_a_file_in_place_of_the_run_and_a_damaged_rung(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "is a file: name a folder" in lab(capsys, "run", "--out", tmp_path / "file")[2][0]
    rungs = tmp_path / "run" / "rungs"
    rungs.mkdir(parents=True)
    (rungs / "kv-int4.json").write_text("{")
    code, _, said = lab(capsys, "run", "--rungs", "baseline", "--out", tmp_path / "run")
    assert code == 2
    assert "kv-int4.json is damaged" in said[0]
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["rungs"]


# --- deciding again -------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path) -> Path:
    write(tmp_path / "summary.json", summary())
    return tmp_path


def test_report_decides_by_other_thresholds(measured, capsys):
    code, said, _ = lab(capsys, "report", measured)
    assert code == 0
    assert said.splitlines()[-1] == str(measured / "report.html")
    assert read(measured / "summary.json").decision.rung == "w4a16-kv-int4"
    code, said, _ = lab(capsys, "report", measured, "--memory", "0.5", "--tokens", "1000", "--json")
    decision = json.loads(said)["decision"]
    assert (decision["outcome"], decision["rung"]) == ("enough", "baseline")
    assert decision["thresholds"]["memory_bytes"] == 2**29
    assert 'lang="zh' in (measured / "report.zh.html").read_text(encoding="utf-8")


def test_report_of_nothing(tmp_path, capsys):
    code, _, said = lab(capsys, "report", tmp_path / "nowhere")
    assert code == 2
    assert "cannot be read" in said[0]


def test_units_of_the_options():
    words = "run --out x --loss 2 --confidence 90 --tpot 50 --least 40 --concurrency 4".split()
    from labutils.ladder.command import thresholds

    assert thresholds(cli.parser().parse_args(["ladder", *words])) == Thresholds(
        accuracy_loss=0.02, confidence=0.9, tpot=0.05, least_accuracy=0.4, concurrency=4
    )


def test_a_notebook_shows_the_report_in_a_frame():
    shown = notebook.show(summary(), "zh").data
    assert shown.startswith("<div><iframe srcdoc=")
    assert "&lt;h1" in shown
    assert "<h1" not in shown
    assert "该用哪种量化" in shown


# --- 4-bit folders that are given -----------------------------------------------------------------


@pytest.fixture
def model(tmp_path) -> Path:
    return folder(tmp_path / "model")


def folder(path: Path, words: tuple[str, ...] = ("a", "b"), **more) -> Path:
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models

    path.mkdir()
    shape = dict.fromkeys(weights.SHAPE, 128)
    (path / "config.json").write_text(json.dumps(shape | more))
    save_file({}, path / "model.safetensors")
    vocabulary = {word: n for n, word in enumerate(("?", *words))}
    Tokenizer(models.WordLevel(vocabulary, unk_token="?")).save(str(path / "tokenizer.json"))
    return path


AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}


def test_the_same_model_in_4_bits_is_taken(model, tmp_path):
    weights.check_given(folder(tmp_path / "good", **AWQ), model)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "holds no 4-bit weights of AWQ"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "no 4-bit weights of AWQ"),
        (
            AWQ | {"num_hidden_layers": 7},
            "has num_hidden_layers 7 and .* 128: --awq takes the same",
        ),
        (AWQ | {"words": ("a", "c")}, "has another tokenizer than"),
    ],
)
def test_anything_else_is_not(model, tmp_path, more, sentence):
    with pytest.raises(LabError, match=sentence):
        weights.check_given(folder(tmp_path / "other", **more), model)


def test_a_quantized_baseline_is_refused(tmp_path):
    with pytest.raises(LabError, match="is quantized already: name the original model"):
        weights.check_unquantized(folder(tmp_path / "model", **AWQ))


def test_made_weights_count_for_what_they_were_made_from(tmp_path):
    of = {"model": "f00", "samples": "16"}
    assert not weights.is_made(tmp_path, of)
    (tmp_path / weights.MARK).write_text(json.dumps(of))
    assert weights.is_made(tmp_path, of)
    assert not weights.is_made(tmp_path, of | {"model": "ba5"})


@pytest.mark.parametrize(("length", "size"), [(256, 128), (576, 64), (96, 32), (100, None)])
def test_the_largest_group_size_that_suits_a_model(tmp_path, length, size):
    made = folder(
        tmp_path / "model",
        hidden_size=length,
        intermediate_size=length * 2,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    if size:
        assert largest_group_size(made) == size
    else:
        with pytest.raises(LabError, match="No group size"):
            largest_group_size(made)
