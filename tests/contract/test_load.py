"""Under load every request is answered once, with its own answer, or refused with a status."""

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from labutils import load
from labutils.server import Server, api_server, proxy

SUBJECTS = "sea sun moon wind rain snow fire tree bird fish road city".split()


def prompts(count: int) -> list[str]:
    """Different questions, so that an answer which went to the wrong one would be noticed."""
    return [f"Write a line about the {SUBJECTS[n % 12]} number {n}." for n in range(count)]


def check_every_answer(server, count: int, concurrency: int) -> load.Load:
    """In float32 the batch an answer was computed in changes no token."""
    asked = prompts(count)
    together = load.run(server, asked, concurrency=concurrency, max_tokens=16)
    assert [answer.prompt for answer in together.answers] == asked
    assert [answer.reason for answer in together.answers if not answer.ok] == []
    sample = range(0, count, max(1, count // 12))
    for number in sample:
        alone = load.run(server, [asked[number]], concurrency=1, max_tokens=16).answers[0]
        assert together.answers[number].text == alone.text, asked[number]
    texts = [answer.text for answer in together.answers]
    assert len(set(texts)) > count // 4, "answers to different questions differ"
    return together


@pytest.fixture(scope="module")
def exact(model):
    """A server in float32."""
    with api_server(model, dtype="float32", session_len=1024, max_batch_size=16) as server:
        yield server


def test_answers_are_not_lost_doubled_or_crossed(exact):
    measured = check_every_answer(exact, count=24, concurrency=8)
    assert 0 < measured.ttft < measured.seconds
    assert measured.tpot > 0
    assert measured.throughput == pytest.approx(
        sum(answer.tokens for answer in measured.answers) / measured.seconds
    )


def test_refusals_have_their_status(exact):
    too_long = "word " * 3000
    mixed = load.run(exact, ["Hi", too_long, "Hello"], concurrency=3, max_tokens=4)
    assert [answer.status for answer in mixed.answers] == [200, 400, 200]
    assert mixed.answers[1].reason


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_requests(exact):
    measured = check_every_answer(exact, count=200, concurrency=16)
    print(
        f"\n200 requests at 16: {measured.seconds:.1f} s, {measured.throughput:.0f} tokens/s, "
        f"TTFT {measured.ttft:.2f} s, TPOT {1000 * measured.tpot:.0f} ms (medians, measured here)"
    )


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_server_behind_the_proxy_is_killed(model):
    """What really happens: requests in flight on the dead server break; the proxy goes on sending
    it its share, which comes back at once and empty, until its heartbeat notices (90 s unless told
    otherwise) or somebody removes the node. Nothing is answered twice or by the wrong server."""
    options = {"session_len": 1024, "max_batch_size": 8, "model_name": "smollm2"}
    with api_server(model, **options) as one, api_server(model, **options) as two:
        with proxy([one, two]) as front:
            killer = threading.Timer(4.0, one.close)
            killer.start()
            got = load.run(front, prompts(64), concurrency=8, max_tokens=48, timeout=120)
            killer.join()
            report(got)
            assert len(got.answers) == 64
            assert all(answer.ok or answer.reason for answer in got.answers)
            assert any(answer.ok for answer in got.answers)

            noticed = seconds_until(lambda: one.url not in nodes(front), 200)
            print(f"the proxy notices after {noticed:.0f} s")
            later = load.run(front, prompts(8), concurrency=4, max_tokens=8, timeout=120)
            assert [answer.status for answer in later.answers] == [200] * 8


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_node_that_is_removed_by_hand_gets_no_more_requests(model):
    """What to do: take the dead node out at once; whoever was hit asks again."""
    options = {"session_len": 1024, "max_batch_size": 8, "model_name": "smollm2"}
    with api_server(model, **options) as one, api_server(model, **options) as two:
        with proxy([one, two]) as front:
            one.close()
            removed = httpx.post(f"{front.url}/nodes/remove", json={"url": one.url})
            assert removed.status_code == 200
            got = load.run(front, prompts(24), concurrency=8, max_tokens=8, timeout=120)
            assert [answer.status for answer in got.answers] == [200] * 24


def nodes(front: Server) -> str:
    return httpx.get(f"{front.url}/nodes/status", timeout=10).text


def seconds_until(happened: Callable[[], bool], limit: float) -> float:
    start = time.monotonic()
    while not happened() and time.monotonic() - start < limit:
        time.sleep(1)
    assert happened()
    return time.monotonic() - start


def report(got: load.Load) -> None:
    failed = [(answer.status, answer.reason) for answer in got.answers if not answer.ok]
    print(f"\n{64 - len(failed)} of 64 answered in {got.seconds:.0f} s; the others:")
    for status, reason in sorted(set(failed)):
        print(f"  {failed.count((status, reason))} × {status} {reason}")
