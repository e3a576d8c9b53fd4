"""The `lab` command: what make, instructors and scripts call.

Each subcommand is a thin layer over a function of the module that does the work; modules load only
when their command runs. A mistake a user can mend is one sentence and exit code 2.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from labutils.errors import LabError
from labutils.troubleshooting import pointer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `lab` command line; returns the exit code."""
    return run(parser(), arguments)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parse a command line and call what it sets as `run`; `python -m labutils.chat` ends alike."""
    args = parser.parse_args(arguments)
    # A terminated command ends its kernels and servers the way an interrupted one does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return args.run(args) or 0
    except LabError as error:
        print(f"{parser.prog}: {error}{pointer(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all `lab` commands."""
    top = argparse.ArgumentParser(prog="lab", description="The tools of LMDeploy Lab.")
    top.set_defaults(run=lambda args: top.print_help() or 2)  # lab alone
    commands = top.add_subparsers(metavar="COMMAND")
    _add_doctor(commands)
    _add_model(commands)
    _add_commands(commands)
    _add_notebooks(commands)
    _add_bench(commands)
    _add_ladder(commands)
    _add_classic(commands)
    _add_grade(commands)
    return top


def _add(commands: argparse._SubParsersAction, name: str, help: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=help, description=help)


# --- lab doctor -------------------------------------------------------------------------------


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    doctor = _add(commands, "doctor", "Say whether this machine can run the lessons, and how.")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from labutils import doctor, machine

    facts = machine.collect()
    shown = [json.dumps(doctor.report(facts), indent=1)] if args.json else doctor.lines(facts)
    print(*shown, sep="\n")
    return 0 if doctor.can_run(doctor.diagnose(facts)) else 1


# --- lab model --------------------------------------------------------------------------------


def _add_model(commands: argparse._SubParsersAction) -> None:
    model = _add(commands, "model", "List, fetch and check the course's models.")
    actions = model.add_subparsers(required=True, metavar="ACTION")
    listing = _add(actions, "list", "List the models that lessons know by name.")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_model_list)
    get = _add(actions, "get", "Make or find a model; its folder is the last line printed.")
    get.add_argument("name")
    get.set_defaults(run=_model_get)
    verify = _add(actions, "verify", "Check files, architecture and chat template of a model.")
    verify.add_argument("name", help="registry name or folder")
    verify.set_defaults(run=_model_verify)
    back = _add(actions, "from-workspace", "Turn a converted model into a Hugging Face folder.")
    back.add_argument("workspace", type=Path, help="what lmdeploy convert wrote")
    back.add_argument("folder", type=Path, help="the new folder")
    back.set_defaults(run=_model_from_workspace)
    random = _add(actions, "make-random", "Make random weights of a model's shape, to measure.")
    random.add_argument("--like", required=True, help="registry name, or folder with config.json")
    random.add_argument("--w4a16", action="store_true", help="in AWQ's 4 bits, group size 128")
    random.add_argument("--seed", type=int, default=0)
    random.add_argument("--folder", type=Path, help="the new folder (default: beside models)")
    random.set_defaults(run=_model_make_random)


def _model_list(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from labutils.registry import MODELS

    if args.json:
        print(json.dumps([asdict(m) for m in MODELS], indent=1))
        return
    for model in MODELS:
        here = "comes with the course" if model.embedded else ", ".join(model.sources)
        print(f"{model.name:22}{model.parameters:>6}  {model.licence:<46}{here}")


def _model_get(args: argparse.Namespace) -> None:
    from labutils import models

    print(models.get(args.name, say=print))


def _model_verify(args: argparse.Namespace) -> None:
    from labutils import models

    print("\n".join(models.verify(args.name)))


def _model_from_workspace(args: argparse.Namespace) -> None:
    from labutils import models

    print(models.from_workspace(args.workspace, args.folder))


def _model_make_random(args: argparse.Namespace) -> None:
    from labutils.random_model import make_random

    print(make_random(args.like, args.folder, quantized=args.w4a16, seed=args.seed, say=print))


# --- lab classic ------------------------------------------------------------------------------


def _add_classic(commands: argparse._SubParsersAction) -> None:
    classic = _add(commands, "classic", "Run a command of the real LMDeploy 0.2.4.")
    classic.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="lmdeploy …",
        help="a command line of LMDeploy 0.2.4",
    )
    classic.set_defaults(run=_classic)


def _classic(args: argparse.Namespace) -> int:
    from labutils import classic

    if args.command[:1] != ["lmdeploy"]:
        raise LabError("write the command line whole: lab classic lmdeploy convert --help.")
    return classic.main(args.command[1:])


# --- lab commands -----------------------------------------------------------------------------


def _add_commands(commands: argparse._SubParsersAction) -> None:
    group = _add(commands, "commands", "LMDeploy command lines of any release since 0.0.13.")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    explain = _add(actions, "explain", "Say what a command line did and what to type now.")
    explain.add_argument("line", help='in quotes: "lmdeploy chat turbomind ./workspace"')
    explain.add_argument("--language", choices=("en", "zh"), default="en", help="of the sentences")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_commands_explain)


def _commands_explain(args: argparse.Namespace) -> None:
    from labutils import commands

    found = commands.explain(args.line)
    if args.json:
        print(json.dumps(found.report(args.language), indent=1, ensure_ascii=False))
    else:
        print("\n".join(found.lines(args.language)))


# --- lab notebooks ----------------------------------------------------------------------------


def _add_notebooks(commands: argparse._SubParsersAction) -> None:
    notebooks = _add(commands, "notebooks", "Run, synchronise and check the lessons.")
    actions = notebooks.add_subparsers(required=True, metavar="ACTION")
    run = _add(actions, "run", "Execute lessons in order and build build/course/index.html.")
    run.add_argument("names", nargs="*", help="lessons, by number or name; none means all")
    run.add_argument("--write", action="store_true", help="store the outputs in notebooks/")
    run.add_argument("--device", choices=("cpu", "gpu"), help="where; none takes a GPU if it can")
    run.add_argument("--record", help="JSON file for each lesson's time and peak GPU memory")
    run.set_defaults(run=_notebooks_run)
    sync = _add(actions, "sync", "Copy code and outputs from the English to the Chinese edition.")
    sync.add_argument(
        "--accept",
        nargs="+",
        default=[],
        metavar="LESSON:CELL",
        help="the translation of this cell holds as it is, such as 03_local_chat:title",
    )
    sync.set_defaults(run=_notebooks_sync)
    check = _add(actions, "check", "Report drift between editions and broken notebook rules.")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_notebooks_check)
    release = _add(actions, "release", "Write the student edition, without solutions and outputs.")
    release.add_argument("--out", type=Path, help="its folder (default build/release)")
    release.set_defaults(run=_notebooks_release)


def _notebooks_run(args: argparse.Namespace) -> int:
    from labutils import course

    return course.main(args.names, write=args.write, device=args.device, record=args.record)


def _notebooks_sync(args: argparse.Namespace) -> None:
    from labutils import notebooks

    for path in notebooks.sync(accept=args.accept):
        print(f"updated {path}")


def _notebooks_check(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from labutils import notebook_checks

    findings = notebook_checks.check()
    if args.json:
        print(json.dumps([asdict(f) for f in findings], indent=1, default=str))
    else:
        print("\n".join(map(str, findings)) or "Both editions are in order.")
    return 1 if findings else 0


def _notebooks_release(args: argparse.Namespace) -> None:
    from labutils import release

    folder = args.out or release.RELEASE
    written = release.release(folder)
    print(f"{len(written)} notebooks in {folder}")


# --- lab grade --------------------------------------------------------------------------------


def _add_grade(commands: argparse._SubParsersAction) -> None:
    grade = _add(commands, "grade", "Grade what students handed in; each submission isolated.")
    grade.add_argument("submissions", type=Path, help="folder with a folder for each student")
    grade.add_argument("--out", type=Path, default="gradebook.csv", help="(default gradebook.csv)")
    grade.add_argument("--release", type=Path, help="what was handed out, if not today's")
    grade.add_argument("--feedback", type=Path, help="folder for a page a student")
    grade.add_argument("--jobs", type=int, default=2, help="submissions at a time (default 2)")
    grade.add_argument("--trusted", action="store_true", help="run the code without isolation")
    grade.set_defaults(run=_grade)


def _grade(args: argparse.Namespace) -> None:
    from labutils import grading

    grading.grade(
        args.submissions,
        args.out,
        release=args.release,
        feedback_folder=args.feedback,
        jobs=args.jobs,
        trusted=args.trusted,
        say=print,
    )
    print(args.out)


# --- lab bench --------------------------------------------------------------------------------


def _add_bench(commands: argparse._SubParsersAction) -> None:
    from labutils.gpu import commands as gpu

    bench = _add(commands, "bench", "Decode and prefill speed beside Hugging Face generate.")
    bench.add_argument("--model", default=None, help="registry name or folder")
    bench.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    bench.add_argument("--prompt", type=int, default=512, help="prompt tokens (default 512)")
    bench.add_argument("--decode", type=int, default=48, help="decoded tokens (default 48)")
    bench.add_argument("--repeats", type=int, default=3, help="paired runs (default 3)")
    kv = {"choices": gpu.FORMATS, "default": ["none"], "help": "KV cache format"}
    bench.add_argument("--kv", nargs="+", **kv)
    bench.add_argument("--quantized", help="folder of the same model in W4A16, timed as well")
    bench.add_argument("--json", action="store_true", help="print JSON only")
    bench.set_defaults(run=_bench)
    gpu.add(bench.add_subparsers(metavar="gpu|pair"))


def _bench(args: argparse.Namespace) -> None:
    from labutils import bench

    bench.main(args)


# --- lab ladder -------------------------------------------------------------------------------


def _add_ladder(commands: argparse._SubParsersAction) -> None:
    from labutils.ladder import command

    command.add(_add(commands, "ladder", "Try the quantizations, measure each, decide."))


if __name__ == "__main__":
    sys.exit(main())
