"""The conversation and its panel, against the real server."""

import threading
import time
from collections.abc import Iterator

import pytest
from openai import OpenAI
from waiting import wait_for

from labutils import LabError, chat_panel
from labutils.chat.conversation import STOPPED, Conversation, Turn
from labutils.chat.panel import ChatPanel
from labutils.chat.presets import PRESETS, allowed
from labutils.server import Server, api_server

KEY = "a-key-of-the-test"
LONG = "Write a long story about the sea."


@pytest.fixture(scope="module")
def server(model) -> Iterator[Server]:
    with api_server(model, session_len=1024, api_key=KEY) as running:
        yield running


@pytest.fixture
def conversation(server) -> Conversation:
    talk = Conversation(server.client(), server.model)
    talk.sampling.temperature, talk.sampling.max_tokens = 0.0, 16
    return talk


def stop_after(talk: Conversation, pieces: int):
    """A callback that stops the answer from the streaming thread itself."""

    def changed(turn: Turn) -> None:
        if turn.counters.completion_tokens == pieces and not turn.done:
            talk.stop()

    return changed


# --- what is said ---------------------------------------------------------------------------------


def test_streamed_text_is_the_whole_text(server, conversation):
    seen = []
    turn = conversation.send("Name three colours.", lambda turn: seen.append(turn.text))
    whole = server.client().chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Name three colours."}],
        temperature=0,
        max_tokens=16,
    )
    assert turn.text == whole.choices[0].message.content
    assert len(set(seen)) > 5 and seen == sorted(seen, key=len), "it grew piece by piece"
    assert (turn.counters.prompt_tokens, turn.counters.completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )
    assert turn.done and not turn.error


def test_counters_say_what_a_student_can_check(conversation):
    started = time.perf_counter()
    turn = conversation.send(LONG)
    seconds = time.perf_counter() - started
    counters = turn.counters
    assert counters.exact and counters.completion_tokens == 16 and turn.finish == "length"
    assert 0 < counters.ttft < seconds
    assert counters.tokens_per_second == pytest.approx(15 / counters.decode_seconds)
    assert counters.ttft + counters.decode_seconds < seconds
    assert f"completion 16 tokens · TTFT {counters.ttft:.2f} s" in str(counters)


def test_every_turn_sends_the_whole_history(conversation):
    conversation.system = "Be brief."
    first = conversation.send("My name is Ada.")
    sent = conversation.messages("What is my name?")
    assert [each["role"] for each in sent] == ["system", "user", "assistant", "user"]
    assert [each["content"] for each in sent] == [
        "Be brief.",
        "My name is Ada.",
        first.text,
        "What is my name?",
    ]
    second = conversation.send("What is my name?")
    assert second.counters.prompt_tokens > first.counters.prompt_tokens + 16
    conversation.clear()
    assert conversation.messages("Hi") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize("odd", ["안녕하세요 😉", "<b>1 & 2</b>\n\nthree", "{braces} %s"])
def test_odd_messages_arrive(conversation, odd):
    assert conversation.send(odd).error == ""
    assert odd in str(conversation)


# --- stopping -------------------------------------------------------------------------------------


def test_stop_in_the_middle_keeps_what_was_said_and_the_next_turn_works(server, conversation):
    conversation.sampling.max_tokens = 900
    turn = conversation.send(LONG, stop_after(conversation, 5))
    assert turn.finish == STOPPED and turn.text and not turn.error
    assert not turn.counters.exact and "completion ~5 tokens" in str(turn.counters)
    conversation.sampling.max_tokens = 8
    after = conversation.send("Go on.")
    assert after.counters.completion_tokens == 8 and not after.error
    assert conversation.messages("x")[1]["content"] == turn.text


def test_stop_ends_the_request_on_the_server(server, conversation):
    """It decodes no more: LMDeploy's count of tokens, which is up to date, stands still."""

    def decoded() -> float:
        return server.metrics()["generation_tokens_total"]

    def stands_still() -> bool:
        before = decoded()
        time.sleep(1)
        return decoded() == before

    conversation.sampling.max_tokens = 900
    begun = threading.Event()
    conversation.start(LONG, lambda turn: begun.set())
    assert begun.wait(60)
    assert not stands_still(), "it decodes"
    started = time.monotonic()
    conversation.stop()
    assert time.monotonic() - started < 2, "stop waits for no token"
    assert wait_for(stands_still, 5), "900 tokens take longer"


def test_stop_before_the_first_token(conversation):
    turn = conversation.start(LONG)
    conversation.stop()
    assert turn.done and turn.finish == STOPPED and not turn.text
    assert conversation.messages("Hi") == [{"role": "user", "content": "Hi"}]
    assert conversation.send("Hi").text


def test_only_one_answer_at_a_time(conversation):
    conversation.start(LONG)
    with pytest.raises(LabError, match="still under way"):
        conversation.start("And?")
    conversation.stop()
    with pytest.raises(LabError, match="empty"):
        conversation.send("  \n")
    assert len(conversation.turns) == 1


# --- what goes wrong ------------------------------------------------------------------------------


def is_a_sentence(text: str) -> bool:
    return text.endswith((".", "。")) and "\n" not in text and "Traceback" not in text


def test_a_wrong_key(server, conversation):
    right = conversation.client
    conversation.client = OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    turn = conversation.send("Hi")
    assert turn.error.startswith("The server refuses this API key (401)")
    assert is_a_sentence(turn.error) and turn.done and not turn.text
    conversation.client = right
    assert conversation.send("Hi").text, "the conversation goes on"


def test_an_unknown_model(server, conversation):
    conversation.model = "nobody"
    error = conversation.send("Hi").error
    assert error == "The server has no model 'nobody' (404): The model 'nobody' does not exist."


def test_a_context_too_long(conversation):
    error = conversation.send("word " * 2000).error
    assert error.startswith("The conversation is too long (400): Input length (20")
    assert "--session-len" in error and is_a_sentence(error)


def test_a_refused_setting(conversation):
    conversation.sampling.temperature = -1.0
    error = conversation.send("Hi").error
    assert error == "The server refused the request (400): The temperature -1.0 must be in [0, 2]."


def test_a_server_that_is_gone(conversation):
    # Port 9 of this machine: nothing listens there.
    conversation.client = OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=0)
    turn = conversation.send("Hi")
    assert turn.error == "No server answers at http://127.0.0.1:9/v1/: start it again."
    chinese = Conversation(conversation.client, "m", language="zh").send("Hi").error
    assert chinese == "http://127.0.0.1:9/v1/ 没有服务器应答：请重新启动服务器。"
    with pytest.raises(LabError, match="no language 'fr'"):
        Conversation(conversation.client, "m", language="fr")


# --- the panel, without a browser -----------------------------------------------------------------


@pytest.fixture
def panel(server) -> ChatPanel:
    shown = chat_panel(server)
    shown.temperature.value, shown.max_tokens.value = 0.0, 12
    return shown


def test_a_program_chats_in_the_panel(panel, server):
    assert repr(panel) == f"Chat with {server.model}"
    panel.system.value = "Be brief."
    turn = panel.say("<i>Hi</i>")
    assert turn.counters.completion_tokens <= 12 and turn.text
    assert panel.conversation.system == "Be brief."
    assert (
        "&lt;i&gt;Hi&lt;/i&gt;" in panel.transcript.value and "<i>Hi" not in panel.transcript.value
    )
    assert str(turn.counters) in panel.counters.value
    assert str(panel).startswith("user: <i>Hi</i>\nassistant: ")
    panel.clear()
    assert "Hi" not in panel.transcript.value and not panel.counters.value


def test_buttons_follow_the_answer(panel):
    panel.max_tokens.value = 900
    panel.message.value = LONG
    panel.send_button.click()
    assert panel.message.value == "" and panel.send_button.disabled
    assert wait_for(lambda: "~" in panel.counters.value and "TTFT –" not in panel.counters.value)
    panel.stop_button.click()
    assert panel.stop_button.disabled and not panel.send_button.disabled
    assert "stopped" in panel.transcript.value


def test_a_failed_request_shows_and_the_panel_goes_on(panel):
    panel.conversation.model, model = "nobody", panel.conversation.model
    panel.say("Hi")
    assert 'role="alert"' in panel.transcript.value and "does not exist." in panel.transcript.value
    panel.conversation.model = model
    assert panel.say("Hi").text and not panel.send_button.disabled


def test_every_input_says_what_it_is(panel):
    inputs = [panel.system, panel.temperature, panel.top_p, panel.max_tokens, panel.message]
    assert all(each.description for each in [*inputs, panel.preset])
    assert panel.system.placeholder and panel.message.placeholder


def test_counselling_is_for_models_whose_entry_allows_it(panel, server):
    assert "listener" not in [preset.name for preset in allowed(PRESETS, server.model)]
    assert "listener" not in dict(panel.preset.options) and not panel.notice.value
    other = ChatPanel(Conversation(server.client(), "emollm-internlm2-7b"))
    assert "listener" in dict(other.preset.options) and "not advice" in other.notice.value
    other.preset.value = dict(other.preset.options)["listener"]
    assert "no medical advice" in other.system.value


# --- last, because it ends the server -------------------------------------------------------------


def test_a_server_that_ends_in_the_middle(server, conversation):
    conversation.sampling.max_tokens = 900
    begun = threading.Event()
    turn = conversation.start(LONG, lambda turn: begun.set())
    assert begun.wait(60)
    server.close()
    assert wait_for(lambda: turn.done)
    assert turn.text and is_a_sentence(turn.error), turn
    assert conversation.send("Hi").error.startswith("No server answers at http://127.0.0.1:")
