"""What a run leaves can be passed on, as the runs are that come with the course."""

import html
import re

import pytest

from labutils.ladder import report, request
from labutils.ladder.decide import decide
from labutils.ladder.records import named
from labutils.ladder.summary import read
from labutils.models import model_path
from labutils.paths import DATA

SHOWN = sorted([*DATA.glob("results/*/ladder-*/summary.json"), *DATA.glob("ladder/*.json")])
FOLDER = re.compile(r"(?<![\w.:/<])/(?:home|root|tmp|usr|opt|mnt|var|Users)/")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ('File "/home/me/.venv/lib/x/engine.py", line 3', 'File "engine.py", line 3'),
        ("/data/models/smollm2 is none: see /data/x.log", "smollm2 is none: see x.log"),
        ("CUDA error at /src/turbomind/stream.h:31", "CUDA error at stream.h:31"),
        ("see https://pytorch.org/docs/stable/cuda.html", None),
        ("7.5 tokens/s, 3/8 done, and/or ./here/it.txt", None),
    ],
)
def test_words_name_files_without_their_folders(words, kept):
    assert named(words) == (kept or words)


def test_the_command_that_repeats_a_run_names_no_folder_of_this_machine(tmp_path):
    model = model_path("smollm2-135m")
    asked = request.checked(model, "en", tmp_path / "my runs", "kv-int8", quick=True)
    assert asked.command == (
        "lab ladder run --model smollm2-135m --data en --rungs kv-int8 --quick --out 'my runs'"
    )


def test_there_are_such_runs():
    assert SHOWN


@pytest.mark.parametrize("file", SHOWN, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_run_that_comes_along_is_whole_and_decides_as_it_says(file):
    found = read(file)
    assert decide(found, found.decision.thresholds) == found.decision
    page = html.unescape(report.render(found))
    assert found.decision.reasons["en"].split(":")[0] in page
    for entry in found.rungs[1:]:
        last = entry.message.splitlines()[-1] if entry.message else ""
        assert last in page if last else report.shown(entry.quality.kl_mean) in page
    for text in (file.read_text(encoding="utf-8"), page):
        assert not FOLDER.search(text)
