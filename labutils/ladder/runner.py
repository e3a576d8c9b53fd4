"""A run of the ladder: every rung in a process of its own, measured unless it was already.

What a run leaves in its folder: `rungs/NAME.json` with figures and answers, `rungs/NAME.log` with
what the engine printed, `summary.json`, `report.html` and `report.zh.html`; the baseline's logits
and the 4-bit weights, for rungs that are added later. Ended at any moment, by Ctrl-C, by a crash or
by the kernel, it leaves whole files, and the next start goes on after the last rung.
"""

import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from labutils.cpu.memory import free_bytes
from labutils.errors import LabError
from labutils.ladder import logits, report, results, summary, supervisor
from labutils.ladder.decide import decide
from labutils.ladder.decision import Thresholds
from labutils.ladder.plan import Plan
from labutils.ladder.progress import Reporter
from labutils.ladder.records import write_record
from labutils.ladder.request import Request, checked
from labutils.ladder.results import Conditions, Result
from labutils.ladder.rungs import BASELINE, RUNGS, Rung
from labutils.ladder.summary import Summary
from labutils.ladder.supervisor import Ended, Limits
from labutils.ladder.task import Task
from labutils.processes import end_orphans

MEMORY_SHARE = 0.9
"""Of the memory that is free when a run starts, what a rung may use unless a limit is given."""
SECONDS = {"quick": 600.0, "full": 1800.0}
"""That a rung may take unless a limit is given."""


def run(
    model: str | None = None,
    data: str | None = None,
    out: str | Path = "ladder",
    rungs: str = "all",
    quick: bool = False,
    awq: str | Path | None = None,
    plan: Plan | None = None,
    thresholds: Thresholds | None = None,
    seconds: float | None = None,
    memory: float | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Measure what is not measured yet, decide, and write summary and report.

    Args:
        model: registry name or folder; None takes LAB_MODEL or the course's own.
        data: en, zh, en,zh or a .jsonl file (data/eval/README.md); None takes the languages that
            the registry says the model knows.
        out: the run's folder, new or that of an earlier run.
        rungs: names with commas between, or 'all'; the baseline is always among them.
        quick: fewer items and tokens, see `plan`.
        awq: folder of the model's 4-bit weights; None makes them.
        plan: sizes of one's own.
        thresholds: to decide by.
        seconds: that each rung may take.
        memory: bytes of resident memory that each rung may use.
        say: takes lines of progress.

    Raises:
        LabError: something asked for is not there or not as it should be; nothing is written then.
    """
    request = checked(model, data, out, rungs, quick, awq, plan)
    limits = Limits(
        seconds or SECONDS["quick" if quick else "full"],
        int(memory or MEMORY_SHARE * free_bytes()),
    )
    for rung in RUNGS:  # a damaged file is named before anything is measured
        results.reusable(request.file(rung), rung.name, Conditions())
    (request.out / "rungs").mkdir(parents=True, exist_ok=True)
    with _alone(request.out):
        found = _Run(request, limits, say).results()
        return conclude(request.out, summary.summarise(found), thresholds)


def conclude(out: Path, found: Summary, thresholds: Thresholds | None) -> Summary:
    """Decide, and write `summary.json` and both reports."""
    decided = replace(found, decision=decide(found, thresholds))
    summary.write(out / "summary.json", decided)
    report.write(out / "report.html", decided)
    report.write(out / "report.zh.html", decided, "zh")
    return decided


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One ladder at a time in a folder; LabError if another one is at work."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"Another ladder is at work in {out}: wait, or name another.") from None
        yield


class _Run:
    """The rungs of a request, one after the other."""

    def __init__(self, request: Request, limits: Limits, say: Callable[[str], None]) -> None:
        self._request, self._limits, self._say = request, limits, say
        self._compared = True
        self._no_weights: Ended | None = None

    def results(self) -> list[Result]:
        """Of all rungs asked for, and of others that were measured under the same conditions."""
        request = self._request
        pending = [rung for rung in request.rungs if self._kept(rung) is None]
        if pending and BASELINE not in pending and not self._has_logits():
            pending.insert(0, BASELINE)
        done = len(request.rungs) - len(pending)
        if done:
            self._say(f"{done} of {len(request.rungs)} rungs are measured already.")
        if pending:
            end_orphans()
        reporter = Reporter(len(pending), self._say)
        found = []
        for rung in RUNGS:
            if rung in request.rungs or rung in pending:
                result = None if rung in pending and rung is BASELINE else self._kept(rung)
                found.append(result or self._measured(rung, reporter))
                self._compared = found[0].status == "ok"
                summary.write(request.out / "summary.json", summary.summarise(found))
            elif kept := self._kept(rung):
                found.append(kept)
        return found

    def _kept(self, rung: Rung) -> Result | None:
        return results.reusable(self._request.file(rung), rung.name, self._conditions(rung))

    def _conditions(self, rung: Rung) -> Conditions:
        return self._request.conditions(rung, self._compared)

    def _has_logits(self) -> bool:
        fingerprint = results.fingerprint(BASELINE.name, self._conditions(BASELINE))
        return logits.complete(self._request.out / logits.FOLDER, fingerprint)

    def _measured(self, rung: Rung, reporter: Reporter) -> Result:
        """Measure a rung, or note why that cannot be done."""
        reporter.begin(rung.title)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        ended = self._quantized(rung, reporter, started)
        if ended.status == "ok":
            ended = self._process("measure", rung, reporter, started)
        file = self._request.file(rung)
        if ended.status == "ok" or _finished(file, started):
            result = results.read(file)
        else:
            result = self._failed(rung, ended, started)
            results.write(file, result)
        reporter.end(result.status if result.status == "ok" else _short(result))
        return result

    def _quantized(self, rung: Rung, reporter: Reporter, started: str) -> Ended:
        """Make the 4-bit weights, where the rung needs them and they are not there; try once."""
        if rung.weights != "w4a16" or self._request.has_weights:
            return Ended("ok", "", 0.0)
        if self._no_weights is None:
            ended = self._process("quantize", rung, reporter, started)
            self._no_weights = None if ended.status == "ok" else ended
            return ended
        return self._no_weights

    def _process(self, kind: str, rung: Rung, reporter: Reporter, started: str) -> Ended:
        request = self._request
        of_4_bits = kind == "measure" and rung.weights == "w4a16"
        task = Task(
            kind=kind,
            name=rung.name,
            title=request.model.name,
            model=str(request.quantized if of_4_bits else request.model),
            run=str(request.out),
            plan=request.plan,
            data=tuple(map(str, request.files)),
            languages=request.languages,
            quant_policy=rung.quant_policy,
            against=rung is not BASELINE and self._compared,
            keep=rung is BASELINE,
            conditions=self._conditions(rung),
            command=request.command,
            started=started,
        )
        file = request.out / "rungs" / f"{rung.name}.task.json"
        write_record(file, task)
        command = [sys.executable, "-m", "labutils.ladder.worker", str(file)]
        log = file.with_name(f"{rung.name}{'.quantize' * (kind == 'quantize')}.log")
        return supervisor.run(command, log, self._limits, reporter.hear)

    def _failed(self, rung: Rung, ended: Ended, started: str) -> Result:
        return Result(
            name=rung.name,
            status=ended.status,
            message=ended.message,
            model=self._request.model.name,
            conditions=self._conditions(rung),
            command=self._request.command,
            started=started,
            seconds=ended.seconds,
        )


def _finished(file: Path, started: str) -> bool:
    """Whether a process that ended badly had written its result by then."""
    with contextlib.suppress(LabError):
        return results.read(file).started == started
    return False


def _short(result: Result) -> str:
    """Status and last line of the message."""
    last = "".join(result.message.splitlines()[-1:])
    return f"{result.status}, {last[:200]}"
