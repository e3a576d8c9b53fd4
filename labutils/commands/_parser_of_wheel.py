"""Run by `labutils.commands.derive` in a bare Python: prints the parser of an unpacked LMDeploy.

Standard library only. Arguments: the folder that holds `lmdeploy/`, and the words of a command
line. LMDeploy's own start function builds the parser for them and is stopped when it would parse.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

REAL = (
    "lmdeploy.cli",
    "lmdeploy.messages",  # KV-cache policies
    "lmdeploy.pytorch.disagg.config",  # roles and transfer protocols
    "lmdeploy.utils",  # adds a log level
    "lmdeploy.version",
)
"""What parsers are built from."""
HOLLOW = ("lmdeploy", "lmdeploy.pytorch", "lmdeploy.pytorch.disagg")
"""Packages wanted for what is in them; their own `__init__` would import engines."""
PROBES = [str(number) for number in range(65)]
"""Tried on flags whose type is a function of LMDeploy's own."""


class StandIns:
    """Finds LMDeploy's modules named above, and a mock for all others that are not standard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec:
        """A real file's spec for REAL, else this class as the loader."""
        file = self.folder.joinpath(*name.split("."))
        package = file / "__init__.py"
        file = package if package.exists() else file.with_suffix(".py")
        if name.startswith(REAL) and file.exists():
            return spec_from_file_location(name, file)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> Any:
        """An empty package, or a mock in which what gets subclassed or stores values is real."""
        if spec.name in HOLLOW:
            return ModuleType(spec.name)
        return MagicMock(name=spec.name, BaseModel=object, DictAction=argparse._StoreAction)

    def exec_module(self, module: Any) -> None:
        """Nothing to run."""


class Built(Exception):
    """Carries the finished parser out of LMDeploy's start function."""


def main(folder: str, *words: str) -> None:
    """Print {"parser": style, "rows": [...]} of the LMDeploy in `folder`."""
    sys.meta_path.append(StandIns(Path(folder)))
    sys.argv = ["lmdeploy", *words]
    argparse.ArgumentParser.parse_args = stop
    argparse._SubParsersAction.add_parser = _add_again
    from lmdeploy.cli import run

    try:
        run()
    except Built as built:
        parser = built.args[0]
        plain = type(parser) is argparse.ArgumentParser
        found = {"parser": "argparse" if plain else "flexible", "rows": list(_leaves("", parser))}
    else:  # the releases that left parsing to `fire`, here a mock that kept its argument
        import fire

        classes = fire.Fire.call_args.args[0]
        found = {"parser": "fire", "rows": list(_methods("", classes))}
    json.dump(found, sys.stdout)


def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
    """In place of parse_args: leaves LMDeploy's start function with the parser it made."""
    raise Built(parser)


ADD = argparse._SubParsersAction.add_parser


def _add_again(group: Any, name: str, **options: Any) -> argparse.ArgumentParser:
    """0.3.0 adds `chat` twice, which Python refuses since 3.11."""
    group.choices.pop(name, None)
    return ADD(group, name, **options)


def _leaves(name: str, parser: argparse.ArgumentParser) -> Iterator[list]:
    """Rows of every command below `parser`."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield from _actions(name, parser)
    for group in groups:
        for word, below in group.choices.items():
            yield from _leaves(f"{name} {word}".strip(), below)


def _actions(name: str, parser: argparse.ArgumentParser) -> Iterator[list]:
    """A row for each argument: command, argument, position, takes, type, choices, default."""
    position = 0
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        long = [option for option in action.option_strings if option.startswith("--")]
        takes = "1" if action.nargs is None else str(action.nargs)
        kind, choices = _type(action)
        position += not long
        place = "" if long else position
        default = "" if not long else json.dumps(action.default, default=str)
        yield [name, (long or [action.dest])[0], place, takes, kind, choices, default]


def _type(action: argparse.Action) -> tuple[str, str]:
    """(type's name, accepted values joined by "|")."""
    kind = getattr(action.type, "__name__", "str")
    if action.choices is not None:
        return kind, "|".join(str(c) for c in action.choices if c is not None)
    if kind in ("str", "int", "float", "bool", "loads"):
        return ("json" if kind == "loads" else kind), ""
    from lmdeploy.messages import QuantPolicy

    names = [*PROBES, *(policy.name.lower() for policy in QuantPolicy), "fp8_e4m3"]
    return "policy", "|".join(name for name in names if _accepts(action.type, name))


def _accepts(kind: Any, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _methods(name: str, holder: Any) -> Iterator[list]:
    """Rows of the public methods of a `fire` class, and of the objects it holds."""
    for word in sorted(w for w in dir(holder) if not w.startswith("_")):
        value, path = getattr(holder, word), f"{name} {word}".strip()
        if inspect.ismethod(value):
            yield from _parameters(path, inspect.signature(value))
        else:
            yield from _methods(path, value)


def _parameters(name: str, signature: inspect.Signature) -> Iterator[list]:
    """A row for each parameter; `fire` takes every one by position or by name."""
    for position, (word, given) in enumerate(signature.parameters.items(), 1):
        if given.kind is given.VAR_KEYWORD:
            yield [name, "**", "", "1", "", "", ""]
            continue
        needed = given.default is given.empty
        default = "" if needed else json.dumps(given.default)
        yield [name, word if needed else f"--{word}", position, "1", "", "", default]


if __name__ == "__main__":
    main(*sys.argv[1:])
