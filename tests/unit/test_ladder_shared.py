"""What a run leaves can be passed on."""

import pytest

from labutils.ladder import request
from labutils.ladder.records import named
from labutils.models import model_path


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
