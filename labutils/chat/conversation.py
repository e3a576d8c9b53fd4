"""A conversation with a served model: it keeps the history, streams, stops and counts.

The server keeps nothing between two requests, so every turn sends the whole conversation again.

Not here: widgets (`panel`), the page in a browser (`page`), tools and structured output.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from labutils.chat.failures import EndedEarly, check_language, sentence
from labutils.errors import LabError

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionChunk

STOPPED = "stopped"
FINISHED = ("stop", "length", "tool_calls")
"""The ends of an answer that are no failure."""


@dataclass
class Sampling:
    """How the next token is chosen, and how many there may be; names as in the request."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 256


@dataclass
class Counters:
    """Tokens and times of one answer; None is what nobody knows (yet)."""

    prompt_tokens: int | None = None
    completion_tokens: int = 0
    exact: bool = False
    """Whether the server counted; until it does, `completion_tokens` counts pieces of text."""
    ttft: float | None = None
    """Time to first token: seconds from the request to the first text."""
    decode_seconds: float = 0.0
    """From the first text to the last."""

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed, the first token left out: its time is the prefill's."""
        if self.completion_tokens < 2 or not self.decode_seconds:
            return None
        return (self.completion_tokens - 1) / self.decode_seconds

    def __str__(self) -> str:
        about = "" if self.exact else "~"
        prompt = "–" if self.prompt_tokens is None else self.prompt_tokens
        ttft = "–" if self.ttft is None else f"{self.ttft:.2f} s"
        speed = self.tokens_per_second
        return (
            f"prompt {prompt} tokens · completion {about}{self.completion_tokens} tokens · "
            f"TTFT {ttft} · {'–' if speed is None else f'{speed:.1f}'} tokens/s"
        )


@dataclass
class Turn:
    """One message and what came of it."""

    message: str
    text: str = ""
    error: str = ""
    """One sentence when the request failed."""
    finish: str = ""
    """The server's finish_reason (stop, length), or 'stopped' by `Conversation.stop`."""
    counters: Counters = field(default_factory=Counters)
    done: bool = False


class Conversation:
    """A conversation over `/v1/chat/completions`, streamed in a thread of its own.

    Args:
        client: an `openai` client of the server.
        model: the name that the server knows the model by.
        system: the system prompt; '' sends none, and the chat template may have its own.
        language: of the error sentences, en or zh.
    """

    def __init__(
        self, client: "OpenAI", model: str, *, system: str = "", language: str = "en"
    ) -> None:
        check_language(language)
        self.client, self.model, self.system, self.language = client, model, system, language
        self.sampling = Sampling()
        self.turns: list[Turn] = []
        self._thread: threading.Thread | None = None
        self._cancel: Callable[[], Any] = lambda: None

    def messages(self, message: str) -> list[dict[str, str]]:
        """What the next request sends: everything that was answered, then `message`."""
        said = [("system", self.system)] if self.system else []
        for turn in self.turns:
            if turn.text:  # a question without an answer would leave two user messages in a row
                said += [("user", turn.message), ("assistant", turn.text)]
        said.append(("user", message))
        return [{"role": role, "content": content} for role, content in said]

    def start(self, message: str, changed: Callable[[Turn], Any] = lambda turn: None) -> Turn:
        """Send a message and return at once; the turn fills while the answer streams.

        Args:
            changed: called in the streaming thread for each piece of text and at the end.

        Raises:
            LabError: the message is empty, or an answer is still under way.
        """
        if not message.strip():
            raise LabError("The message is empty: type one.")
        if self.answering:
            raise LabError("An answer is still under way: stop it or wait for its end.")
        turn = Turn(message)
        # An event loop of its own: cancelling its task closes the connection at once, also while
        # nothing arrives, and the notebook's own loop stays free.
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._stream(turn, self.messages(message), changed))
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._thread = threading.Thread(
            target=self._run, args=(loop, task, turn, changed), daemon=True, name="chat"
        )
        self.turns.append(turn)
        self._thread.start()
        return turn

    def send(self, message: str, changed: Callable[[Turn], Any] = lambda turn: None) -> Turn:
        """`start`, then wait for the end of the answer; Ctrl-C stops it."""
        turn = self.start(message, changed)
        try:
            self._thread.join()
        except BaseException:
            self.stop()
            raise
        return turn

    def stop(self) -> None:
        """Close the stream, which frees the request on the server; what was said stays."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: the answer is complete
            self._cancel()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join()

    def clear(self) -> None:
        """Forget all turns; the system prompt and the sampling stay."""
        self.stop()
        self.turns.clear()

    @property
    def answering(self) -> bool:
        """Whether an answer is under way."""
        return self._thread is not None and self._thread.is_alive()

    def __str__(self) -> str:
        return "\n".join(self._lines()) or f"(no conversation with {self.model} yet)"

    def __repr__(self) -> str:
        return f"<Conversation with {self.model}, {len(self.turns)} turns>"

    def _lines(self) -> Iterator[str]:
        for turn in self.turns:
            yield f"user: {turn.message}"
            if turn.text:
                yield f"assistant: {turn.text}"
            if turn.finish not in ("", "stop"):
                yield f"({turn.finish})"
            if turn.error:
                yield f"error: {turn.error}"

    # --- in the streaming thread ------------------------------------------------------------------

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        task: asyncio.Task,
        turn: Turn,
        changed: Callable[[Turn], Any],
    ) -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            turn.finish = STOPPED
        except Exception as error:
            url = str(self.client.base_url)
            turn.error = sentence(error, self.language, url=url, model=self.model)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            turn.done = True
            changed(turn)

    async def _stream(
        self, turn: Turn, messages: list[dict[str, str]], changed: Callable[[Turn], Any]
    ) -> None:
        from openai import AsyncOpenAI

        ours = self.client
        options = {"base_url": ours.base_url, "api_key": ours.api_key, "timeout": ours.timeout}
        async with AsyncOpenAI(**options, max_retries=0) as client:
            sent = time.perf_counter()
            stream = await client.chat.completions.create(
                model=self.model,
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                **asdict(self.sampling),
            )
            async with stream:
                async for chunk in stream:
                    if _take(turn, chunk, time.perf_counter() - sent):
                        changed(turn)
        if turn.finish not in FINISHED:
            raise EndedEarly


def _take(turn: Turn, chunk: "ChatCompletionChunk", seconds: float) -> bool:
    """Add a piece of the stream to the turn; whether there was text in it."""
    counters = turn.counters
    if chunk.usage:
        counters.prompt_tokens = chunk.usage.prompt_tokens
        counters.completion_tokens, counters.exact = chunk.usage.completion_tokens, True
    if not chunk.choices:
        return False
    choice = chunk.choices[0]
    turn.finish = choice.finish_reason or turn.finish
    if not choice.delta.content:
        return False
    if counters.ttft is None:
        counters.ttft = seconds
    counters.decode_seconds = seconds - counters.ttft
    counters.completion_tokens += 1
    turn.text += choice.delta.content
    return True
