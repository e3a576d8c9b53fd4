"""Made-up results of rungs, input for the functions that compare, decide and report."""

from labutils.ladder.results import Answer, Conditions, Figure, Memory, Quality, Result, Speed
from labutils.ladder.rungs import RUNGS
from labutils.ladder.summary import Summary, summarise

MIB = 2**20
WEIGHTS = {"unquantized": 257 * MIB, "w4a16": 100 * MIB}
KV_PER_TOKEN = {0: 23040, 8: 12240, 4: 6480}
ITEMS = 400


def answers(wrong: range = range(160), items: int = ITEMS, category: str = "knowledge") -> tuple:
    """Answers of which those in `wrong` are wrong."""
    return tuple(
        Answer(f"{category}-{n}", category, "en", f"Question {n}?", f"reply {n}", n not in wrong)
        for n in range(items)
    )


def shifted(lost: int, gained: int, items: int = ITEMS) -> tuple:
    """Answers with so many flips against `answers()`."""
    before = answers(items=items)
    flips = {*range(gained), *range(items - lost, items)}
    return tuple(
        Answer(a.id, a.category, a.language, a.question, "other", a.right != (n in flips))
        for n, a in enumerate(before)
    )


def result(name: str, found: tuple | None = None, tokens_s: float = 20.0, **changes) -> Result:
    """A rung that ran: sizes of SmolLM2-135M, replies `found`."""
    rung = next(each for each in RUNGS if each.name == name)
    fields = {
        "name": name,
        "status": "ok",
        "message": "",
        "model": "smollm2-135m",
        "conditions": Conditions(
            versions={"lmdeploy": "0.18.0"},
            hashes={"model": "a" * 64, "items": "b" * 64},
            machine={"processors": "2 × made up"},
            settings={"dtype": "bfloat16"},
            seeds={"sampling": 0},
        ),
        "command": "lab ladder run --out run",
        "started": "2025-01-31T12:00:05+00:00",
        "seconds": 30.0,
        "quality": Quality(
            kl_mean=None if name == "baseline" else Figure(0.004, "nats", low=0.003, high=0.005),
            kl_p99=None if name == "baseline" else Figure(0.03, "nats"),
            top1_agreement=None if name == "baseline" else Figure(0.97, "share", "measured", 0.96),
            perplexity=Figure(18.2, "", low=16.9, high=19.6),
            perplexity_ratio=None if name == "baseline" else Figure(1.01, "", low=1.005, high=1.02),
            answers=answers() if found is None else found,
        ),
        "memory": Memory(
            Figure(WEIGHTS[rung.weights], "bytes"),
            Figure(KV_PER_TOKEN[rung.quant_policy], "bytes"),
            Figure(8192, "tokens"),
        ),
        "predicted": Memory(
            Figure(WEIGHTS[rung.weights], "bytes", "predicted"),
            Figure(KV_PER_TOKEN[rung.quant_policy], "bytes", "predicted"),
            Figure(8100, "tokens", "predicted"),
        ),
        "speed": (speed(1, tokens_s), speed(4, 2.5 * tokens_s)),
    }
    return Result(**fields | changes)


def speed(concurrency: int, tokens_s: float) -> Speed:
    """A speed whose runs differ by 5 %."""
    return Speed(
        concurrency,
        ttft=Figure(0.3, "seconds"),
        tpot=Figure(concurrency / tokens_s, "seconds"),
        throughput=Figure(tokens_s, "tokens/s", low=0.95 * tokens_s, high=1.05 * tokens_s),
        limit_share=Figure(0.4, "share"),
    )


def failed(
    name: str, status: str = "unsupported", message: str = "head_dim 64 is no good"
) -> Result:
    """A rung that did not run."""
    return result(name, status=status, message=message, quality=None, memory=None, speed=())


def summary(**replies: tuple | Result) -> Summary:
    """All six rungs; those named (with _ for -) with these answers or results."""
    given = {name.replace("_", "-"): value for name, value in replies.items()}
    found = [given.get(rung.name) for rung in RUNGS]
    return summarise(
        [
            each if isinstance(each, Result) else result(rung.name, each)
            for rung, each in zip(RUNGS, found, strict=True)
        ]
    )
