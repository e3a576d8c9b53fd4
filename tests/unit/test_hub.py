"""The `datasets` library and LMDeploy 0.2.4 find our text; too little of it is refused."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

from labutils import classic, corpus, hub, models
from labutils.errors import LabError

TEXTS = ["One.\n\nTwo: “three” 😉", "四、五\u2028六\u0085七", "", "x" * 3000]
MODEL = models.model_path(models.DEFAULT)
ASKED = {  # as LMDeploy 0.18.0 asks
    "wikitext2": ("wikitext", "wikitext-2-raw-v1", {}),
    "c4": ("allenai/c4", "en", {"data_files": {"train": "en/c4-train.00000-of-01024.json.gz"}}),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_datasets_library_reads_our_text(tmp_path, monkeypatch, name):
    from datasets import load_dataset

    monkeypatch.chdir(hub.hub_folder(tmp_path / "text", TEXTS))
    path, configuration, options = ASKED[name]
    found = load_dataset(
        path, configuration, split="train", cache_dir=str(tmp_path / "cache"), **options
    )
    assert found["text"][:] == TEXTS


@pytest.mark.parametrize("name", ASKED)
def test_another_text_is_not_taken_for_the_one_before(tmp_path, monkeypatch, name):
    """In a terminal all texts share one cache, which knows a folder by its README alone."""
    from datasets import load_dataset

    path, configuration, options = ASKED[name]
    for text in ("the first text", "the second text"):
        monkeypatch.chdir(hub.hub_folder(tmp_path / text, [text]))
        cache = str(tmp_path / "cache")
        found = load_dataset(path, configuration, split="train", cache_dir=cache, **options)
        assert found["text"][:] == [text]


@pytest.mark.parametrize(
    ("path", "column"), [("allenai/c4", "text"), ("ptb_text_only", "sentence")]
)
def test_what_stands_in_for_it_under_0_2_4_reads_the_same(tmp_path, monkeypatch, path, column):
    spec = importlib.util.spec_from_file_location("stand_in", classic.run.STAND_INS / "datasets.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    monkeypatch.chdir(hub.hub_folder(tmp_path / "text", TEXTS))
    found = stand_in.load_dataset(path, "any", split="validation", use_auth_token=False)
    assert found[column] == TEXTS
    assert found[1][column] == TEXTS[1] and len(found) == len(TEXTS)
    with pytest.raises(SystemExit, match="can calibrate with wikitext2, c4, ptb here"):
        stand_in.load_dataset("json", data_files="https://example.org/val.jsonl")


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = hub.hub_folder(tmp_path / "text", TEXTS)
    (folder / ".cache").mkdir()
    before = files(folder)
    with pytest.raises(UnicodeEncodeError):
        hub.hub_folder(folder, ["good", "\ud800"])
    assert files(folder) == before
    assert os.listdir(tmp_path) == ["text"]
    hub.hub_folder(folder, ["other"])
    assert files(folder).keys() == before.keys() and files(folder) != before
    assert not (folder / ".cache").exists(), "what was made of the old text is gone as well"


def test_a_text_is_one_document(tmp_path):
    folder = hub.hub_folder(tmp_path / "text", "one text")
    assert hub.rows(folder, hub.DATA_SETS["c4"]) == [{"text": "one text"}]


def test_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "wikitext").touch()
    with pytest.raises(LabError, match="thesis exists and holds something else: name a new"):
        hub.hub_folder(tmp_path / "thesis", TEXTS)
    assert os.listdir(tmp_path / "thesis") == ["wikitext"]


@pytest.mark.parametrize("texts", [[], ["", " \n"]])
def test_no_text(tmp_path, texts):
    with pytest.raises(LabError, match="give at least one document"):
        hub.hub_folder(tmp_path / "text", texts)
    assert not os.listdir(tmp_path)


# --- text that is too short ----------------------------------------------------------------------

CHINESE = corpus.texts("prose.zh")[0][:300]


@pytest.fixture(scope="module")
def count():
    """Tokens of a text, as the course's model has it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    return lambda text: len(tokenizer.encode(text))


@pytest.mark.parametrize("texts", [["Some words. " * 20, "More words."], [CHINESE, "短。"]])
def test_text_may_have_just_as_many_tokens_as_a_sample(texts, count):
    joined, longest = count("\n\n".join(texts)), count(texts[0])
    assert joined > longest
    hub.check_texts(texts, MODEL, "wikitext2", joined)
    hub.check_texts(texts, MODEL, "c4", longest)
    with pytest.raises(LabError, match=rf"^The text has {joined:,} tokens, .* more text, or at"):
        hub.check_texts(texts, MODEL, "wikitext2", joined + 1)
    with pytest.raises(
        LabError, match=rf"^The longest document has {longest:,} .*seqlen {longest}"
    ):
        hub.check_texts(texts, MODEL, "c4", longest + 1)


def test_the_longest_document_is_the_one_with_the_most_tokens_not_characters(count):
    latin, chinese = "word " * 90, CHINESE
    assert len(latin) > len(chinese) and count(latin) < count(chinese)
    hub.check_texts([latin, chinese], MODEL, "c4", count(chinese))


@pytest.fixture
def short(tmp_path) -> Path:
    return hub.hub_folder(tmp_path / "text", ["Just a few words.", "And some more."])


LINES = [
    ("0.18.0", "lite auto_awq MODEL --calib-dataset c4", "longest document has 5 tokens, and c4"),
    ("0.18.0", "lite calibrate MODEL", r"text has \d+ tokens, and wikitext2 samples of 2,048"),
    ("0.2.4", "lite calibrate MODEL --calib-seqlen 64", "and ptb samples of 64"),
    ("0.18.0", "lite calibrate MODEL --calib-dataset pileval", "local text for wikitext2, c4, ptb"),
]


@pytest.mark.parametrize(("release", "line", "sentence"), LINES)
def test_a_command_line_is_refused(short, release, line, sentence):
    words = line.replace("MODEL", MODEL).split()
    with pytest.raises(LabError, match=sentence):
        hub.check_line(words, release, short)


@pytest.mark.parametrize(
    "line",
    [
        "lite calibrate MODEL --calib-seqlen 4 --calib-dataset c4",
        "lite auto_awq MODEL --calib-samples 0",  # quantizes without data
        "lite calibrate MODEL --no-such-flag",  # LMDeploy says so itself
        "lite calibrate --help",
        "chat MODEL",
    ],
)
def test_a_command_line_is_let_through(short, line):
    hub.check_line(line.replace("MODEL", MODEL).split(), "0.18.0", short)


def test_a_folder_without_text(tmp_path):
    with pytest.raises(LabError, match="holds no text in place of wikitext2: run .*hub_folder"):
        hub.check_line(["lite", "calibrate", MODEL], "0.18.0", tmp_path)


def test_the_layout_names_what_lmdeploy_asks_for():
    """Read in LMDeploy's own source: its readers name the data sets as ASKED does."""
    spec = importlib.util.find_spec("lmdeploy")
    source = Path(spec.origin).with_name("lite") / "utils" / "calib_dataloader.py"
    text = source.read_text(encoding="utf-8")
    for path, configuration, options in ASKED.values():
        assert f"'{path}'" in text and f"'{configuration}'" in text
        assert json.dumps(options.get("data_files", {})).strip("{}").replace('"', "'") in text
