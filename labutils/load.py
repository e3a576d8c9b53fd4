"""Many requests at once: what became of each, and how fast.

Requests go through the `openai` client, as a student's would; times are reckoned by LMDeploy's own
`lmdeploy.profiler`. Nothing is sent twice: a request that failed is counted as failed, with the
status that it got.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import openai
from lmdeploy.profiler import Profiler, Session

from labutils.server import Server

PERCENTILES = [50, 90]


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    prompt: str
    status: int
    """200; the HTTP status of a refusal; 0 when the connection broke or nothing came in time."""
    text: str = ""
    tokens: int = 0
    reason: str = ""
    """Why it failed, in the server's words."""
    arrivals: tuple[float, ...] = ()
    """When each piece of text arrived, by `time.perf_counter`."""

    @property
    def ok(self) -> bool:
        """Whether a whole answer came back."""
        return self.status == 200


@dataclass(frozen=True)
class Load:
    """The outcome of a load, answers in the order of the prompts; times in seconds."""

    answers: list[Answer]
    concurrency: int
    seconds: float
    ttft: float
    """Median time to first token of the answered requests; 0 without any."""
    tpot: float
    """Median time per output token of the answered requests; 0 without any."""

    @property
    def throughput(self) -> float:
        """Output tokens per second, all requests together."""
        return sum(answer.tokens for answer in self.answers) / self.seconds


def run(
    server: Server,
    prompts: Sequence[str],
    *,
    concurrency: int,
    max_tokens: int,
    timeout: float = 600.0,
    **options: Any,
) -> Load:
    """Send every prompt once as a chat, at most `concurrency` at a time, and wait for all.

    Args:
        server: an api_server or a proxy.
        max_tokens: of each answer.
        timeout: seconds that one request may take.
        options: further fields of the request, such as temperature (0 unless given).

    Runs in a thread of its own, so that it works in a notebook, too, where an event loop runs
    already.
    """
    request = {"temperature": 0.0, "max_tokens": max_tokens, **options}
    profiler = Profiler(stream_output=True, percentages=PERCENTILES)
    work = _run(server, prompts, concurrency, timeout, request, profiler)
    answers = _in_a_thread(work)
    profiler.compute_metrics()
    return Load(
        answers,
        concurrency,
        profiler.elapsed_time,
        statistics.median(profiler.ttfts or [0.0]),
        statistics.median(profiler.tpots or [0.0]),
    )


def _in_a_thread(work: Any) -> list[Answer]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as one:
        return one.submit(asyncio.run, work).result()


async def _run(
    server: Server,
    prompts: Sequence[str],
    concurrency: int,
    timeout: float,
    request: dict[str, Any],
    profiler: Profiler,
) -> list[Answer]:
    """All requests, a limited number at a time."""
    places = asyncio.Semaphore(concurrency)
    client = openai.AsyncOpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.api_key or "none",
        max_retries=0,
        timeout=timeout,
    )

    async def one(prompt: str) -> Answer:
        async with places:
            session = profiler.new_session(0, 0)
            return await _ask(client, server.model, prompt, request, session)

    async with client:
        profiler.start()
        try:
            return await asyncio.gather(*map(one, prompts))
        finally:
            profiler.finish()


async def _ask(
    client: openai.AsyncOpenAI, model: str, prompt: str, request: dict[str, Any], session: Session
) -> Answer:
    """One streamed chat; every failure becomes an Answer."""
    text, tokens, finished = "", 0, False
    session.tick(0)
    try:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            stream_options={"include_usage": True},
            **request,
        )
        async for chunk in stream:
            for choice in chunk.choices:
                piece = choice.delta.content or ""
                text += piece
                finished = finished or choice.finish_reason in ("stop", "length")
                if piece:
                    session.tick(len(session.ns))
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
    except openai.APIStatusError as error:
        return _failed(prompt, session, error.status_code, str(error.message), text)
    except (openai.APIError, ValueError) as error:  # broken off in the middle, or timed out
        return _failed(prompt, session, 0, f"{type(error).__name__}: {error}", text)
    if not finished:
        return _failed(prompt, session, 0, "the stream ended without a finish reason", text)
    session.ns[-1] = max(tokens, session.ns[-1])  # a piece may hold several tokens
    session.finish(Session.SUCCESS if len(session.ns) > 1 else Session.FAIL)
    return Answer(prompt, 200, text, tokens, arrivals=tuple(session.ts[1:]))


def _failed(prompt: str, session: Session, status: int, reason: str, text: str) -> Answer:
    session.finish(Session.FAIL)
    return Answer(prompt, status, text, 0, reason[:300])
