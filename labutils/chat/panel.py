"""A chat panel for notebooks: a `Conversation` in ipywidgets.

The answer streams in a thread of its own, so that other cells can run meanwhile. Outside a browser
the panel is text: `print(panel)` shows the conversation, `panel.say("…")` waits for an answer.
"""

import html
import threading
import time
from collections.abc import Sequence
from typing import Any

from ipywidgets import (
    HTML,
    BoundedIntText,
    Button,
    Dropdown,
    FloatSlider,
    HBox,
    Layout,
    Text,
    Textarea,
    VBox,
)

from labutils.chat.conversation import Conversation, Turn
from labutils.chat.presets import PRESETS, Preset, allowed
from labutils.server import Server
from labutils.texts import spoken

REDRAW_SECONDS = 0.1
SETTLE_SECONDS = 0.2
"""The browser reports Enter before the text it belongs to."""
WIDE = Layout(width="98%")
WRAPPED = Layout(flex_flow="row wrap")
WHOLE = {"description_width": "initial"}
LOG = (
    '<div role="log" style="height:18em;overflow-y:auto;display:flex;'
    'flex-direction:column-reverse;border:1px solid #8888;padding:0.5em"><div>{}</div></div>'
)
SAID = '<p style="white-space:pre-wrap;margin:0.3em 0;line-height:1.4"><b>{}</b> {}{}</p>'


def chat_panel(server: Server, *, system: str = "", language: str = "en") -> "ChatPanel":
    """A panel that chats with a running server; leave it as a cell's last line to show it.

    Args:
        server: what `api_server` gave.
        system: the system prompt to begin with.
        language: of the labels and of the error sentences, en or zh.
    """
    conversation = Conversation(server.client(), server.model, system=system, language=language)
    return ChatPanel(conversation)


class ChatPanel(VBox):
    """The widgets around a `Conversation`."""

    def __init__(self, conversation: Conversation, presets: Sequence[Preset] = PRESETS) -> None:
        self.conversation = conversation
        self.labels = spoken("chat", conversation.language)
        self._drawn, self._drawing = 0.0, threading.Lock()
        self._make_settings(allowed(tuple(presets), conversation.model))
        self._make_talk()
        super().__init__(
            [
                self.system,
                HBox([self.temperature, self.top_p, self.max_tokens, self.preset], layout=WRAPPED),
                self.notice,
                self.transcript,
                self.message,
                HBox([self.send_button, self.stop_button, self.clear_button]),
                self.counters,
            ]
        )
        self._show()

    # --- for programs -----------------------------------------------------------------------------

    def say(self, message: str) -> Turn:
        """Send a message with the panel's settings and wait for the answer.

        Raises:
            LabError: the message is empty, or an answer is still under way.
        """
        self._set_up()
        return self.conversation.send(message, self._changed)

    def stop(self) -> None:
        """Stop the answer that is under way, if there is one."""
        self.conversation.stop()

    def clear(self) -> None:
        """Forget the conversation; the settings stay."""
        self.conversation.clear()
        self._show()

    def __str__(self) -> str:
        return str(self.conversation)

    def __repr__(self) -> str:
        count = len(self.conversation.turns)
        return f"Chat with {self.conversation.model}" + (f", {count} turns" if count else "")

    # --- widgets ----------------------------------------------------------------------------------

    def _make_settings(self, presets: Sequence[Preset]) -> None:
        labels, sampling = self.labels, self.conversation.sampling
        self.system = Textarea(
            self.conversation.system,
            description=labels["system"],
            placeholder=labels["system_type"],
            rows=2,
            layout=WIDE,
            style=WHOLE,
        )
        self.temperature = FloatSlider(
            sampling.temperature, min=0.0, max=2.0, step=0.05, description="temperature"
        )
        self.top_p = FloatSlider(sampling.top_p, min=0.05, max=1.0, step=0.05, description="top_p")
        self.max_tokens = BoundedIntText(
            sampling.max_tokens, min=1, max=100_000, description="max tokens"
        )
        options = [(labels["none"], ""), *((each.name, each.system) for each in presets)]
        self.preset = Dropdown(options=options, description=labels["preset"])
        for control in (self.temperature, self.top_p, self.max_tokens, self.preset):
            control.style.description_width, control.layout.width = "initial", "19em"
        self.preset.observe(lambda change: setattr(self.system, "value", change.new), "value")
        advice = labels["not_advice"] if any(each.counselling for each in presets) else ""
        self.notice = HTML(f"<b>{advice}</b>" if advice else "")

    def _make_talk(self) -> None:
        labels = self.labels
        self.transcript, self.counters = HTML(layout=WIDE), HTML()
        self.message = Text(
            description=labels["message"],
            placeholder=labels["type"],
            continuous_update=False,
            layout=WIDE,
            style=WHOLE,
        )
        self.message.on_msg(self._entered)
        self.send_button = Button(description=labels["send"], button_style="primary")
        self.stop_button = Button(description=labels["stop"], tooltip=labels["stop"])
        self.clear_button = Button(description=labels["clear"], tooltip=labels["clear"])
        self.send_button.on_click(lambda button: self._start())
        self.stop_button.on_click(lambda button: self.stop())
        self.clear_button.on_click(lambda button: self.clear())

    def _entered(self, widget: Text, content: dict[str, Any], buffers: list[bytes]) -> None:
        if content.get("event") == "submit":
            threading.Timer(SETTLE_SECONDS, self._start).start()

    def _start(self) -> None:
        """Send what is in the message box; a second press while an answer streams does nothing."""
        message = self.message.value
        if message.strip() and not self.conversation.answering:
            self.message.value = ""
            self._set_up()
            self.conversation.start(message, self._changed)
            self._show()

    def _set_up(self) -> None:
        """Give the conversation what the widgets say."""
        self.conversation.system = self.system.value.strip()
        sampling = self.conversation.sampling
        sampling.temperature, sampling.top_p = self.temperature.value, self.top_p.value
        sampling.max_tokens = self.max_tokens.value

    # --- showing ----------------------------------------------------------------------------------

    def _changed(self, turn: Turn) -> None:
        """Redraw, but not for every token: the browser gets the whole text each time."""
        if turn.done or time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._show()

    def _show(self) -> None:
        with self._drawing:  # an older picture must not cover the last one
            turns = list(self.conversation.turns)
            busy = bool(turns) and not turns[-1].done
            self._drawn = time.monotonic()
            self.transcript.value = LOG.format("".join(map(self._draw, turns)))
            self.counters.value = f"<code>{turns[-1].counters}</code>" if turns else ""
            self.send_button.disabled, self.stop_button.disabled = busy, not busy

    def _draw(self, turn: Turn) -> str:
        said = SAID.format(self.labels["user"] + ":", html.escape(turn.message), "")
        note = self.labels.get(f"finish:{turn.finish}", "") if turn.done else "▍"
        if turn.text or not turn.error:
            note = f" <i>({note})</i>" if turn.done and note else note
            name = html.escape(self.conversation.model) + ":"
            said += SAID.format(name, html.escape(turn.text), note)
        if turn.error:
            said += f'<p role="alert" style="color:#c62828">⚠ {html.escape(turn.error)}</p>'
        return said
