"""The rules of thumb are answered by the figures, whichever way those turn out."""

from ladder_results import failed, result, shifted, speed, summary

from labutils.ladder.questions import questions
from labutils.ladder.summary import summarise

FIGURES = summary(
    kv_int8=shifted(lost=6, gained=6),
    kv_int4=result("kv-int4", shifted(lost=40, gained=2), tokens_s=13.0),
    w4a16=result("w4a16", speed=(speed(1, 30.0), speed(4, 51.0))),
)


def asked(found, language="en"):
    return {question[language]: answer[language] for question, answer in found}


def test_each_rule_of_thumb_is_answered():
    found = asked(questions(FIGURES, tokens=8192))
    assert list(found) == [
        "Does higher precision answer better?",
        "At the edge, 1 request at a time: what is fastest?",
        "On a server, 4 requests at a time: what is fastest?",
        "Long texts: how many tokens fit into 437 MiB, what the baseline takes with 8,192?",
    ]
    precision, edge, server, context = found.values()
    assert precision.startswith("A loss is shown for: KV int4. No loss is shown for: KV int8, ")
    assert edge == "W4A16: 1.50 × the baseline's tokens/s (30.0)."
    assert server == "No rung is faster than the baseline beyond the spread of the runs."
    assert context.startswith("KV int8 15,420 (1.9 ×); KV int4 29,127 (3.6 ×); W4A16 15,337")


def test_in_chinese_too():
    found = asked(questions(FIGURES, tokens=8192), "zh")
    assert found["端侧，并发 1：哪一级最快？"] == "W4A16：每秒词元数为基线的 1.50 倍（30.0）。"


def test_what_was_not_measured_is_not_asked():
    only_words = [result(name, speed=(), memory=None) for name in ("baseline", "kv-int8")]
    assert list(asked(questions(summarise(only_words), 8192))) == [
        "Does higher precision answer better?"
    ]
    one_speed = [result(name, memory=None, speed=(speed(1, 20),)) for name in ("baseline", "w4a16")]
    assert len(questions(summarise(one_speed), 8192)) == 2
    assert questions(summarise([result("baseline"), failed("kv-int8")]), 8192) == []
    assert questions(summarise([failed("baseline"), result("kv-int8")]), 8192) == []
