"""LAB_MODEL switches every lesson to another model, and the lessons reach their end."""

import pytest
from tiny import SIZE, internlm2, make
from transformers import Qwen2Config

from labutils import course

LESSONS = ("00", "01", "03", "04", "05")
"""Those that `LAB_MODEL` changes; 02 and 06 always take the course's own models. Lesson 07 is left
out: its ladder starts an engine for each of six rungs, minutes for each architecture."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", ["qwen2", "internlm2"])
def test_lessons_run_on_another_architecture(tmp_path, model, monkeypatch, architecture):
    if architecture == "qwen2":
        folder = make(tmp_path / "tiny", Qwen2Config(**SIZE, num_key_value_heads=2), model)
    else:
        folder, _ = internlm2(tmp_path, model)
    monkeypatch.setenv("LAB_MODEL", str(folder))
    assert course.run(LESSONS, out=tmp_path / "build" / "course").is_file()
