"""What a run asks and times, and the texts that it takes for it."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from labutils import LabError
from labutils.ladder import data
from labutils.ladder.plan import FULL, QUICK, chosen
from labutils.ladder.progress import Reporter
from labutils.ladder.task import Progress
from labutils.paths import DATA

ENGLISH = data.items([data.SHIPPED["en"]])


def test_quick_asks_as_many_of_each_category_and_the_same_every_time():
    quick = chosen(ENGLISH, QUICK.per_category)
    assert set(Counter(item.category for item in quick).values()) == {QUICK.per_category}
    assert quick == chosen(list(ENGLISH), QUICK.per_category)
    order = [item.id for item in ENGLISH]
    assert [order.index(item.id) for item in quick] == sorted(order.index(i.id) for i in quick)


def test_a_gpu_gets_more_requests_at_a_time_and_longer_answers():
    assert FULL.on("cpu") == FULL
    on_gpu = FULL.on("cuda")
    assert (on_gpu.concurrency, on_gpu.decoded_tokens) == ((1, 4, 16, 64), 256)
    assert FULL.settings()["gpu_decoded_tokens"] == "256", "another size is another measurement"


def test_a_larger_choice_holds_the_smaller_one_and_another_seed_chooses_others():
    small, large = ({item.id for item in chosen(ENGLISH, count)} for count in (5, 20))
    assert small < large
    assert small != {item.id for item in chosen(ENGLISH, 5, seed=1)}
    assert chosen(ENGLISH, None) == chosen(ENGLISH, 10**6) == ENGLISH


def test_every_size_is_a_condition_of_its_own():
    assert FULL.settings().keys() == QUICK.settings().keys()
    assert FULL.settings() != replace(FULL, new_tokens=8).settings()
    assert "seed" not in FULL.settings()


def test_data_is_named_by_language_or_file(tmp_path):
    assert data.files("en") == [DATA / "eval" / "english.jsonl"]
    assert data.files("zh, en,zh") == [data.SHIPPED["zh"], data.SHIPPED["en"]]
    with pytest.raises(LabError, match="There is no file en,fr: write en, zh or en,zh"):
        data.files("en,fr")
    mine = tmp_path / "my.jsonl"
    mine.write_text(data.SHIPPED["zh"].read_text(encoding="utf-8").splitlines()[0])
    assert data.languages(data.items(data.files(str(mine)))) == ("zh",)
    with pytest.raises(LabError, match=r"my.jsonl: the id 'zh-know-001' is taken"):
        data.items([data.SHIPPED["zh"], mine])


def test_no_text_serves_to_calibrate_and_to_evaluate():
    for languages in (["en"], ["zh"], ["en", "zh"]):
        assert not {*data.passages(languages)} & {*data.calibration(languages)}
    both = data.passages(["en", "zh"])
    assert both[:2] == [data.passages(["en"])[0], data.passages(["zh"])[0]]
    assert len(both) == len(data.passages(["en"])) + len(data.passages(["zh"]))


def test_passages_are_equally_long_and_of_documents_of_their_own():
    class Tokenizer:
        def __call__(self, text, verbose):
            return type("Encoded", (), {"input_ids": text.split()})

    texts = ["a b c d", "e f", "g h i", "j k l m"]
    assert data.tokens(texts, Tokenizer(), 2, 3) == [["a", "b", "c"], ["g", "h", "i"]]
    with pytest.raises(LabError, match="Fewer than two passages have 4 tokens"):
        data.tokens(texts[:3], Tokenizer(), 2, 4)


def test_hashes_tell_the_files_apart():
    english, chinese = (data.hashes([data.SHIPPED[name]], [name]) for name in ("en", "zh"))
    assert english.keys() == chinese.keys() == {"items", "texts"}
    assert not {*english.values()} & {*chinese.values()}


# --- progress -------------------------------------------------------------------------------------


def test_a_line_a_measurement_with_the_time_left():
    said: list[str] = []
    reporter = Reporter(3, said.append)
    reporter.begin("Baseline")
    for doing, done in (("engine", 0.0), ("answers 1/2", 0.5), ("answers 2/2", 0.6)):
        reporter.hear(Progress(doing, done))
    reporter.end("ok")
    assert said[0] == "[1/3] Baseline: engine"
    assert said[1].startswith("[1/3] Baseline: answers 1/2, about ")
    assert said[2:] == ["[1/3] Baseline: ok, 0 s"]


def test_time_left():
    reporter = Reporter(4, print)
    assert reporter.left(0.1, 5.0) is None, "too early to tell"
    assert reporter.left(0.5, 10.0) == pytest.approx(20 * 3.5)
    reporter._taken = [30.0, 50.0]
    assert reporter.left(0.25, 99.0) == pytest.approx(40 * 1.75)


def test_the_ladder_itself_loads_no_engine():
    """So that a repeat of a complete run takes a moment."""
    code = (
        "import sys; from labutils.ladder import command, notebook, runner;"
        "print({'torch', 'lmdeploy', 'transformers'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
