"""LAB_MODEL switches every lesson to another model, and the lessons reach their end."""

import pytest
from tiny import SIZE, internlm2, make
from transformers import Qwen2Config

from labutils import course

LESSONS = {"qwen2": ("00", "03", "05"), "internlm2": ("01", "04")}
"""Those that `LAB_MODEL` changes, each once here and on the other model in `make soak`; 02 and 06
always take the course's own models. Lesson 07 is left out: its ladder starts an engine for each of
six rungs, minutes for each architecture."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("architecture", "lessons"),
    [
        *LESSONS.items(),
        pytest.param("qwen2", LESSONS["internlm2"], marks=pytest.mark.soak),
        pytest.param("internlm2", LESSONS["qwen2"], marks=pytest.mark.soak),
    ],
)
def test_lessons_run_on_another_architecture(tmp_path, model, monkeypatch, architecture, lessons):
    if architecture == "qwen2":
        folder = make(tmp_path / "tiny", Qwen2Config(**SIZE, num_key_value_heads=2), model)
    else:
        folder, _ = internlm2(tmp_path, model)
    monkeypatch.setenv("LAB_MODEL", str(folder))
    monkeypatch.setattr(course, "can_build", lambda: False)  # the site takes longer than a lesson
    executed = course.run(lessons, out=tmp_path / "build" / "course")
    assert len(list(executed.glob("en/*.ipynb"))) == len(lessons)
