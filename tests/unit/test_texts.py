"""Every text is there in both languages, with the same placeholders, and said where it belongs."""

import re
from pathlib import Path

import pytest

from labutils import texts
from labutils.chat.conversation import STOPPED, Conversation, Turn
from labutils.chat.panel import ChatPanel

SUBJECTS = sorted(path.stem for path in Path(texts.__file__).parent.glob("*.csv"))
CHINESE = re.compile(r"[\u3000-\u9fff]")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_text_has_both_languages(subject):
    for key, both in texts.read(subject).items():
        assert list(both) == ["en", "zh"] and all(both.values()), key
        english, chinese = (sorted(re.findall(r"{\w*}", text)) for text in both.values())
        assert english == chinese, key
        assert not CHINESE.search(both["en"]), key
        assert CHINESE.search(both["zh"]) or both["zh"] == both["en"], key


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_key_stands_twice(subject):
    keys = Path(texts.__file__).with_name(f"{subject}.csv").read_text("utf-8").count("\n") - 1
    assert len(texts.read(subject)) == keys


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_the_panel_says_how_an_answer_ended_unless_as_it_should(language):
    conversation = Conversation(None, "smollm2-135m", language=language)
    panel = ChatPanel(conversation)
    for finish, said in (("stop", 0), ("length", 1), (STOPPED, 2)):
        conversation.turns.append(Turn("Hi", "Hello", finish=finish, done=True))
        panel._show()
        assert panel.transcript.value.count("<i>") == said
