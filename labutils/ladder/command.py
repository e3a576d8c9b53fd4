"""`lab ladder run` and `lab ladder report`: options into arguments, and what is printed at the end.

Thresholds are asked for in the units that people speak in: points, percent, GiB, milliseconds.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labutils.ladder.decision import Thresholds

if TYPE_CHECKING:  # `lab` imports this module whatever it is asked: SciPy would slow all of it
    from labutils.ladder.summary import Summary

_USUAL = Thresholds()


def add(ladder: argparse.ArgumentParser) -> None:
    """Add both actions to the parser of `lab ladder`."""
    actions = ladder.add_subparsers(required=True, metavar="ACTION")
    about = "Measure every rung in a process of its own, decide, and write a report."
    run = actions.add_parser("run", help=about, description=about)
    run.add_argument("--model", default=None, help="registry name or folder")
    run.add_argument(
        "--data", default=None, help="en, zh, en,zh, or a .jsonl file (see data/eval/README.md)"
    )
    run.add_argument("--out", required=True, metavar="RUN", help="folder, new or of a run to go on")
    run.add_argument("--rungs", default="all", help="names with commas between (default: all)")
    run.add_argument("--quick", action="store_true", help="fewer items and tokens: minutes")
    run.add_argument("--awq", default=None, metavar="FOLDER", help="its 4-bit weights, if made")
    run.add_argument("--time-limit", type=float, metavar="SECONDS", help="of each rung")
    run.add_argument("--memory-limit", type=float, metavar="GIB", help="resident, of each rung")
    _add_thresholds(run)
    run.set_defaults(run=_run)
    about = "Decide again on a run's figures, with other thresholds, and write its report anew."
    report = actions.add_parser("report", help=about, description=about)
    report.add_argument("out", metavar="RUN", help="folder of a run")
    _add_thresholds(report)
    report.set_defaults(run=_report)


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    asked = parser.add_argument_group("thresholds")
    loss, sure = 100 * _USUAL.accuracy_loss, 100 * _USUAL.confidence
    asked.add_argument(
        "--loss", type=float, default=loss, help=f"points of accuracy (default {loss:g})"
    )
    asked.add_argument(
        "--confidence", type=float, default=sure, help=f"that it is less, in %% (default {sure:g})"
    )
    asked.add_argument(
        "--tokens",
        type=int,
        default=_USUAL.tokens,
        help=f"in the KV cache at once (default {_USUAL.tokens})",
    )
    asked.add_argument("--memory", type=float, metavar="GIB", help="for weights and KV cache")
    asked.add_argument("--tpot", type=float, metavar="MS", help="for each token after the first")
    asked.add_argument(
        "--concurrency", type=int, default=1, help="requests at a time, for --tpot (default 1)"
    )
    asked.add_argument("--least", type=float, metavar="%", help="accuracy that the baseline needs")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def thresholds(args: argparse.Namespace) -> Thresholds:
    """What the options ask for; LabError if a value is out of its range."""
    return Thresholds(
        accuracy_loss=args.loss / 100,
        confidence=args.confidence / 100,
        tokens=args.tokens,
        memory_bytes=None if args.memory is None else args.memory * 2**30,
        tpot=None if args.tpot is None else args.tpot / 1000,
        concurrency=args.concurrency,
        least_accuracy=None if args.least is None else args.least / 100,
    )


def _run(args: argparse.Namespace) -> None:
    from labutils.ladder import runner

    found = runner.run(
        args.model,
        args.data,
        args.out,
        args.rungs,
        args.quick,
        args.awq,
        thresholds=thresholds(args),
        seconds=args.time_limit,
        memory=None if args.memory_limit is None else args.memory_limit * 2**30,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    _show(found, args)


def _report(args: argparse.Namespace) -> None:
    from labutils.ladder import runner, summary

    out = Path(args.out)
    found = summary.read(out / "summary.json")
    _show(runner.conclude(out, found, thresholds(args)), args)


def _show(found: "Summary", args: argparse.Namespace) -> None:
    out = Path(args.out)
    if args.json:
        print((out / "summary.json").read_text(encoding="utf-8"), end="")
        return
    print(found.decision.reasons["en"])
    print(out / "report.html")
